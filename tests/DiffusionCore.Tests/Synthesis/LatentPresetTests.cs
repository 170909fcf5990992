using System.Text.Json;
using DiffusionCore.Pipelines;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;
using DiffusionCore.Synthesis;
using DiffusionCore.Tests.Weights;
using DiffusionCore.Weights;

namespace DiffusionCore.Tests.Synthesis;

/// <summary>The published sizes of latent diffusion and Frido, names and shapes of the authors' small ones, and images from tiny ones.</summary>
public sealed class LatentPresetTests
{
    [Theory]
    [InlineData("frido-f16f8", "model.diffusion_model", 511.68)]
    [InlineData("frido-f16f8", "first_stage_model", 67.99)]
    [InlineData("frido-f16f8", "cond_stage_model", 166.6)]
    [InlineData("frido-f8f4-layout", "model.diffusion_model", 511.67)]
    [InlineData("frido-f8f4-layout", "first_stage_model", 63.95)]
    public void Sizes_are_the_published_ones(string preset, string component, double millions) =>
        Assert.Equal(millions, SynthPreset.Find(preset).Components.Single(c => c.Folder == component).Parameters / 1e6, 0.06);

    [ConformanceTheory]
    [InlineData("frido_sample")]
    [InlineData("ldm_sample")]
    public void Names_and_shapes_are_the_authors(string golden)
    {
        string folder = ConformanceData.PathOf("golden", golden);
        using var tensors = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(folder, "tensors.json")));
        // 1x1 kernels of attention are matrices where a network takes both; a head that is only trained is not asked for.
        string[] expected = [.. tensors.RootElement.EnumerateObject().Where(t => t.Name.Contains('.', StringComparison.Ordinal) && !t.Name.Contains("to_logits", StringComparison.Ordinal))
            .Select(t => Line(t.Name, [.. t.Value.GetProperty("shape").EnumerateArray().Select(d => d.GetInt64())])).Order(StringComparer.Ordinal)];
        var preset = LatentPlan.Preset(golden, File.ReadAllText(Path.Combine(folder, "config.json")));
        Assert.Equal(expected, preset.Components.SelectMany(c => c.Tensors).Select(t => Line(t.Name, t.Dims)).Order(StringComparer.Ordinal));

        static string Line(string name, long[] dims)
        {
            while (dims.Length > 2 && dims[^1] == 1) dims = dims[..^1];
            return $"{name} [{string.Join(", ", dims)}]";
        }
    }

    [Theory]
    [InlineData("ldm-tiny", 16)]
    [InlineData("ldm-tiny-text", 16)]
    [InlineData("ldm-tiny-uncond", 16)]
    [InlineData("ldm-tiny-sr", 16)]
    [InlineData("ldm-tiny-inpainting", 16)]
    [InlineData("frido-tiny", 16)]
    [InlineData("frido-tiny-layout", 16)]
    public void Every_kind_makes_images_whatever_the_batch(string preset, int side)
    {
        using var folder = new TemporaryFolder();
        SynthModel.Write(SynthPreset.Find(preset), folder["m"], 1, StorageType.F32);
        using var model = ModelFolder.Load(folder["m"]);
        Assert.All(model.Accounts, a => Assert.Empty(a.Unused));
        using var device = new CpuDevice(2);
        var request = new GenerateRequest
        {
            Count = 2, Seed = 5, Guidance = 2, Options = new SamplerOptions { Steps = 4, Eta = 1 }, Prompt = model.TakesText ? "a cat" : "",
            Classes = preset == "ldm-tiny" ? [3, 7] : [], Layout = preset.EndsWith("layout", StringComparison.Ordinal) ? [new LayoutObject("5", 0.1, 0.2, 0.5, 0.4)] : null,
            LowResolution = preset.EndsWith("sr", StringComparison.Ordinal) ? Image(side / 2) : null,
            Init = preset.EndsWith("inpainting", StringComparison.Ordinal) ? Image(side) : null, Mask = preset.EndsWith("inpainting", StringComparison.Ordinal) ? new SourceImage(side, side, 1, new float[side * side]) : null,
        };
        byte[][] Run(int batch)
        {
            using var pipeline = new GeneratePipeline(model, device);
            return pipeline.Make(request with { Batch = batch });
        }

        byte[][] one = Run(1), two = Run(2);
        Assert.Equal(2, one.Length);
        Assert.Equal(side * side * 3, one[0].Length);
        Assert.Equal(one, two);
        Assert.NotEqual(one[0], one[1]);
        Assert.True(one[0].Distinct().Count() > 8);
    }

    private static SourceImage Image(int side) => new(side, side, 3, [.. Enumerable.Range(0, side * side * 3).Select(i => i % 17 / 16f)]);
}
