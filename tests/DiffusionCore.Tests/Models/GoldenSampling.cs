using System.Runtime.InteropServices;
using DiffusionCore.Noise;
using DiffusionCore.Pipelines;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;
using DiffusionCore.Weights;

namespace DiffusionCore.Tests.Models;

/// <summary>A sampling golden of the authors' own programs: its folder as a model, the given noise as a source, and what the peer's run came to.</summary>
internal sealed class GoldenSampling : IDisposable
{
    private readonly GoldenModel golden;

    public GoldenSampling(string name)
    {
        golden = GoldenModel.Open(name);
        Model = ModelFolder.Load(golden.Folder);
        Dims = IO.Dims(IO.Names.First(n => n is "in.noise" or "in.latents" or "in.prior"));
    }

    public ModelFolder Model { get; }

    public Checkpoint IO => golden.IO;

    /// <summary>[N, C, H, W].</summary>
    public long[] Dims { get; }

    public IEnumerable<string> Outputs => IO.Names.Where(n => n.StartsWith("out.", StringComparison.Ordinal)).Select(n => n[4..]);

    /// <summary>Folders of the conformance data whose names begin so, or one row that will be skipped.</summary>
    public static TheoryData<string> Folders(params string[] prefixes)
    {
        var names = new TheoryData<string>();
        foreach (string prefix in prefixes)
            if (ConformanceData.Folder is not null)
                foreach (string folder in Directory.GetDirectories(ConformanceData.PathOf("golden"), prefix + "*").Order(StringComparer.Ordinal)) names.Add(Path.GetFileName(folder));
        if (names.Count == 0) names.Add("none");
        return names;
    }

    /// <summary>Class numbers, given as numbers or as rows with one 1; zeros where the run has none.</summary>
    public int[] Classes()
    {
        if (IO.Names.Contains("in.y")) return [.. MemoryMarshal.Cast<byte, long>(GoldenModel.Read(IO, "in.y")).ToArray().Select(c => (int)c)];
        if (!IO.Names.Contains("in.class_labels")) return new int[Dims[0]];
        float[] rows = Floats("class_labels", "in.");
        int width = rows.Length / (int)Dims[0];
        return [.. Enumerable.Range(0, (int)Dims[0]).Select(i => Array.IndexOf(rows, 1, i * width, width) is var at && at >= 0 ? at - i * width : width)];
    }

    /// <summary>Runs a plan on the CPU from the given noises and hands over the latents, channels first, after each evaluation.</summary>
    /// <returns>The last latents.</returns>
    public float[] Run(SamplerPlan plan, string first, Func<int, string> next, double guidance = 1, Action<Evaluation, float[]>? after = null, IDenoiser? denoiser = null)
    {
        using var device = new CpuDevice(2);
        using var weights = device.CreateWeightStore();
        var shape = new SessionShape((int)Dims[0], (int)Dims[2], (int)Dims[3], guidance != 1);
        using var session = new DenoiseSession(device, denoiser ?? Model.Denoiser, Model.Path, weights, plan, shape, new MemoryBudget(device, null));
        int[] classes = Classes();
        long[] ids = [.. (guidance != 1 ? classes.Concat(classes) : classes).Select(c => (long)c)];
        byte[] told = MemoryMarshal.AsBytes(ids.AsSpan()).ToArray();
        session.Start(new DenoiseStart
        {
            Seeds = [.. Enumerable.Range(0, (int)Dims[0]).Select(i => (ulong)i)], Guidance = guidance,
            Noise = new NoiseSettings { Custom = image => new Recorded(this, (int)image, first, next) },
            Conditioning = new Dictionary<string, byte[]> { [ClassDenoiser.ClassLabels] = told, ["classifier_labels"] = told },
        });
        while (session.Next() is { } e) after?.Invoke(e, ChannelsFirst(session.Download()));
        return ChannelsFirst(session.Download());
    }

    public float[] Floats(string name, string prefix = "out.") => MemoryMarshal.Cast<byte, float>(GoldenModel.Read(IO, prefix + name)).ToArray();

    public double[] ChannelsLast(float[] x)
    {
        int channels = (int)Dims[1], pixels = (int)(Dims[2] * Dims[3]);
        var y = new double[x.Length];
        for (int n = 0; n < Dims[0]; n++)
            for (int c = 0; c < channels; c++)
                for (int p = 0; p < pixels; p++) y[(n * pixels + p) * channels + c] = x[(n * channels + c) * pixels + p];
        return y;
    }

    public float[] ChannelsFirst<T>(ReadOnlySpan<T> x)
        where T : struct, System.Numerics.INumber<T>
    {
        int channels = (int)Dims[1], pixels = (int)(Dims[2] * Dims[3]);
        var y = new float[x.Length];
        for (int n = 0; n < Dims[0]; n++)
            for (int c = 0; c < channels; c++)
                for (int p = 0; p < pixels; p++) y[(n * channels + c) * pixels + p] = float.CreateTruncating(x[(n * pixels + p) * channels + c]);
        return y;
    }

    public void AssertClose(string output, float[] got, double bound = 1e-4) =>
        GoldenModel.AssertClose(GoldenModel.Read(IO, "out." + output), MemoryMarshal.AsBytes(got.AsSpan()), bound, $"{golden.Name} {output}");

    public void Dispose()
    {
        Model.Dispose();
        golden.Dispose();
    }

    // One image's part of each recorded draw, in order.
    private sealed class Recorded(GoldenSampling golden, int image, string first, Func<int, string> next) : INoiseSource
    {
        private int drawn = -1;

        public void Normal(Span<float> destination)
        {
            string name = drawn < 0 ? first : next(drawn);
            drawn++;
            if (golden.IO.Names.Contains("in." + name)) golden.Floats(name, "in.").AsSpan(image * destination.Length, destination.Length).CopyTo(destination);
            else destination.Clear();                  // a draw that the peer's run did not use
        }
    }
}

internal static class CheckpointDims
{
    public static long[] Dims(this Checkpoint file, string name) => file.TryGet(name, out var entry) ? entry.Dims : [];
}
