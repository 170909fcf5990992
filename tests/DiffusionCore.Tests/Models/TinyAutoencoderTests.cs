using System.Runtime.InteropServices;
using DiffusionCore.Models;
using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Tests.Models;

[Trait("Category", "Conformance")]
public class TinyAutoencoderTests
{
    /// <summary>Half-precision weights computed in float32, on both sides: the bounds leave room for the order of sums.</summary>
    [RealModelFact("taef2")]
    public void The_FLUX2_variant_gives_the_numbers_of_the_peer_and_keeps_the_picture()
    {
        string folder = RealModels.Folder("taef2")!;
        using var component = Component.Load(folder);
        Assert.Empty(component.Account.Unused);
        using var golden = Checkpoint.Open(Path.Combine(folder, "golden.safetensors"));
        using var device = new CpuDevice(2);
        var results = Component.Run(component, golden, device).ToDictionary(r => r.Name);
        float[] latent = Floats(results["out.latent"].Data.Span), image = Floats(results["out.image"].Data.Span), original = Read(golden, "in.image");
        Assert.True(LargestDifference(Read(golden, "out.latent"), latent) <= 1e-3);
        Assert.True(LargestDifference(Read(golden, "out.image"), image) <= 2e-3);

        double square = 0;
        for (int i = 0; i < image.Length; i++) square += Math.Pow(Math.Clamp(image[i], 0, 1) - original[i], 2);
        double decibel = -10 * Math.Log10(square / image.Length);
        Assert.True(decibel >= 37, $"{decibel:F2} dB");
    }

    private static float[] Floats(ReadOnlySpan<byte> bytes) => MemoryMarshal.Cast<byte, float>(bytes).ToArray();

    private static float[] Read(Checkpoint file, string name)
    {
        Assert.True(file.TryGet(name, out var entry));
        var bytes = new byte[entry.Bytes];
        file.Read(name, bytes);
        return Floats(bytes);
    }

    private static double LargestDifference(float[] a, float[] b)
    {
        Assert.Equal(a.Length, b.Length);
        double largest = 0;
        for (int i = 0; i < a.Length; i++) largest = Math.Max(largest, float.IsNaN(b[i]) ? double.PositiveInfinity : Math.Abs((double)a[i] - b[i]));
        return largest;
    }
}
