using DiffusionCore.Models;
using DiffusionCore.Runtime;
using DiffusionCore.Synthesis;
using DiffusionCore.Tests.Weights;
using DiffusionCore.Weights;

namespace DiffusionCore.Tests.Synthesis;

/// <summary>The networks take synthetic models whole, and make numbers of ordinary size from them.</summary>
public sealed class SynthNetworkTests
{
    [Theory]
    [InlineData("sd-tiny")]
    [InlineData("sd2-tiny")]
    [InlineData("sdxl-tiny")]
    [InlineData("dit-tiny")]
    public void Every_tensor_is_used_and_none_is_missing(string name)
    {
        using var folder = new TemporaryFolder();
        var preset = SynthPreset.Find(name);
        SynthModel.Write(preset, folder["m"], 4, StorageType.F16);
        foreach (var c in preset.Components)
        {
            using var component = Component.Load(Path.Combine(folder["m"], c.Folder));
            Assert.Empty(component.Account.Missing);
            Assert.Empty(component.Account.Unused);
            Assert.Equal(c.Tensors.Count, component.Account.Used);
        }
    }

    [Fact]
    public void The_noise_that_is_predicted_has_about_the_deviation_of_noise()
    {
        using var folder = new TemporaryFolder();
        SynthModel.Write(SynthPreset.Find("sd-tiny"), folder["m"], 4, StorageType.F16);
        using var component = Component.Load(Path.Combine(folder["m"], "unet"));
        var random = new Random(3);
        SafetensorsWriter.Write(folder["in.safetensors"], [Normal("in.sample", [1, 4, 16, 16]), Normal("in.encoder_hidden_states", [1, 77, 64]), Of("in.timestep", [1], [500f])]);
        using var inputs = Checkpoint.Open(folder["in.safetensors"]);
        using var device = new CpuDevice(1);
        var y = System.Runtime.InteropServices.MemoryMarshal.Cast<byte, float>(Component.Run(component, inputs, device).Single(t => t.Name.StartsWith("out.", StringComparison.Ordinal)).Data.Span).ToArray();
        Assert.InRange(Math.Sqrt(y.Average(v => (double)v * v)), 0.3, 3);

        TensorData Normal(string name, long[] dims) =>
            Of(name, dims, [.. Enumerable.Range(0, (int)dims.Aggregate(1L, (a, d) => a * d)).Select(_ => (float)(Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble())))]);
    }

    private static TensorData Of(string name, long[] dims, float[] values) => new(name, StorageType.F32, dims, System.Runtime.InteropServices.MemoryMarshal.AsBytes(values.AsSpan()).ToArray());
}
