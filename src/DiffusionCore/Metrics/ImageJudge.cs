using System.Runtime.InteropServices;
using DiffusionCore.Models;
using DiffusionCore.Runtime;

namespace DiffusionCore.Metrics;

/// <summary>A classifier that looks at finished images of 8 bits. What it says about an image does not depend on the others.</summary>
public sealed class ImageJudge : IDisposable
{
    /// <summary>Images that it looks at together.</summary>
    public const int Batch = 16;

    private readonly Device device;
    private readonly WeightStore weights;
    private readonly Executable executable;
    private readonly DeviceBuffer images;
    private readonly float[] staged, features, logits;
    private readonly int samples;

    public ImageJudge(ImageClassifier network, Device device)
    {
        this.device = device;
        Classes = network.Config.Classes;
        var g = new Graph();
        var x = g.Input("image", new Shape(Batch, network.Config.SampleSize, network.Config.SampleSize, network.Config.InChannels));
        var (f, l) = network.Record(g, x);
        g.Output("features", f);
        g.Output("logits", l);
        weights = device.CreateWeightStore();
        executable = device.Prepare(device.Plan(g), weights);
        (staged, features, logits) = (new float[x.Shape.Count], new float[f.Shape.Count], new float[l.Shape.Count]);
        (samples, Features) = (staged.Length / Batch, (int)f.Shape[1]);
        images = device.Allocate(staged.Length * sizeof(float));
        executable.Bind("image", images);
    }

    /// <summary>What an image looks like.</summary>
    /// <param name="index">Its place in the list.</param>
    public delegate void Judged(int index, ReadOnlySpan<float> features, int likeliest);

    public IReadOnlyList<string> Classes { get; }

    /// <summary>Length of a feature vector.</summary>
    public int Features { get; }

    /// <param name="pixels">Each of the classifier's size: rows of interleaved channels.</param>
    /// <exception cref="UsageException">An image of another size.</exception>
    public void Look(IReadOnlyList<byte[]> pixels, Judged judged, CancellationToken cancellation = default)
    {
        for (int first = 0; first < pixels.Count; first += Batch)
        {
            cancellation.ThrowIfCancellationRequested();
            int count = Math.Min(Batch, pixels.Count - first);
            for (int i = 0; i < count; i++)
            {
                var image = pixels[first + i];
                if (image.Length != samples) throw new UsageException($"the classifier reads {samples} samples, an image has {image.Length}");
                for (int k = 0; k < samples; k++) staged[i * samples + k] = image[k] / 127.5f - 1;
            }

            device.Upload(MemoryMarshal.AsBytes(staged.AsSpan()), images);
            executable.Run(Rate.Step);
            device.Download(executable.Output("features"), MemoryMarshal.AsBytes(features.AsSpan()));
            device.Download(executable.Output("logits"), MemoryMarshal.AsBytes(logits.AsSpan()));
            for (int i = 0; i < count; i++)
            {
                var scores = logits.AsSpan(i * Classes.Count, Classes.Count);
                int best = 0;
                for (int c = 1; c < scores.Length; c++)
                    if (scores[c] > scores[best]) best = c;
                judged(first + i, features.AsSpan(i * Features, Features), best);
            }
        }
    }

    public void Dispose()
    {
        executable.Dispose();
        images.Dispose();
        weights.Dispose();
    }
}
