using System.Diagnostics;
using DiffusionCore.Pipelines;

namespace DiffusionCore.Cli;

/// <summary>One line on a terminal's stderr: steps, time per step, time left. Silent where stderr is not a terminal.</summary>
internal sealed class ProgressLine : IDisposable
{
    private const double SecondsBetweenUpdates = 0.1;

    private readonly bool shown = !Console.IsErrorRedirected;
    private readonly Stopwatch watch = Stopwatch.StartNew();
    private double last = -1;
    private int width;

    public void Report(GenerateProgress p)
    {
        if (!shown) return;
        double now = watch.Elapsed.TotalSeconds;
        bool final = p.Evaluation == p.Evaluations;
        if (!final && now - last < SecondsBetweenUpdates) return;
        last = now;
        double done = (p.FirstImage + p.BatchImages * (double)p.Evaluation / p.Evaluations) / p.TotalImages;
        var left = TimeSpan.FromSeconds(done > 0 ? now / done * (1 - done) : 0);
        int bar = (int)Math.Round(done * 24);
        Write($"[{new string('#', bar)}{new string('.', 24 - bar)}] images {p.FirstImage + 1}-{p.FirstImage + p.BatchImages} of {p.TotalImages}  step {p.Evaluation}/{p.Evaluations}  {p.EvaluationTime.TotalMilliseconds:F1} ms/step  {left:m\\:ss} left");
    }

    public void Dispose()
    {
        if (shown && width > 0) Write("", end: true);
    }

    private void Write(string text, bool end = false)
    {
        int room = 79;
        try
        {
            room = Math.Max(20, Console.WindowWidth - 1);
        }
        catch (IOException)
        {
            // No window size: keep 80 columns.
        }

        if (text.Length > room) text = text[..room];
        Console.Error.Write("\r" + text.PadRight(width) + (end ? "\r" : ""));
        width = text.Length;
    }
}
