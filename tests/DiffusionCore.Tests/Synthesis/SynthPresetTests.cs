using DiffusionCore.Runtime;
using DiffusionCore.Synthesis;
using DiffusionCore.Weights;

namespace DiffusionCore.Tests.Synthesis;

/// <summary>Sizes that the well-known models are published with, and names and shapes of the peers' small ones.</summary>
public sealed class SynthPresetTests
{
    [Theory]
    [InlineData("sd15", "unet", 686, 859_520_964)]
    [InlineData("sd15", "vae", 248, 83_653_863)]
    [InlineData("sd15", "text_encoder", 196, 123_060_480)]
    [InlineData("sd21", "unet", 686, 865_910_724)]
    [InlineData("sd21", "text_encoder", 372, 340_387_840)]
    [InlineData("sdxl", "unet", 1680, 2_567_463_684)]
    [InlineData("sdxl", "text_encoder", 196, 123_060_480)]
    [InlineData("sdxl", "text_encoder_2", 517, 694_659_840)]
    [InlineData("dit-xl2", "vae", 248, 83_653_863)]
    [InlineData("dit-xl2", "transformer", 538, 749_826_464)]
    public void Sizes_are_the_models(string preset, string component, int tensors, long parameters)
    {
        var c = SynthPreset.Find(preset).Components.Single(c => c.Folder == component);
        Assert.Equal((tensors, parameters), (c.Tensors.Count, c.Parameters));
        Assert.Equal(c.Tensors.Count, c.Tensors.Select(t => t.Name).Distinct(StringComparer.Ordinal).Count());
    }

    public static TheoryData<string> Goldens => ["unet2dcond_sd15", "unet2dcond_sdxl", "autoencoder_kl_sd", "clip_text_l", "dit"];

    [ConformanceTheory]
    [MemberData(nameof(Goldens))]
    public void Names_and_shapes_are_the_peers(string golden)
    {
        IReadOnlyList<TensorPlan> plan = golden switch
        {
            "unet2dcond_sd15" => new UNetPlan([32, 64], 1, [1, 0], [4, 4], 32, false, 0, 16).Tensors(),
            "unet2dcond_sdxl" => new UNetPlan([32, 64], 1, [0, 2], [2, 4], 48, true, 72, 16).Tensors(),
            "autoencoder_kl_sd" => new AutoencoderPlan([16, 32, 32], 1, 0.18215, 32).Tensors(),
            "clip_text_l" => new ClipTextPlan(64, 4, 4, 256, "quick_gelu", 48, true, 120) { Positions = 20 }.Tensors(),
            _ => new DitPlan(4, 8, 2, 2, 10, 8).Tensors(),
        };
        using var file = Checkpoint.Open(ConformanceData.PathOf("golden", golden, "model.safetensors"));
        var expected = file.Names.Where(n => !n.EndsWith("position_ids", StringComparison.Ordinal))
            .Select(n => file.TryGet(n, out var e) ? $"{n} [{string.Join(", ", e.Dims)}]" : n).Order(StringComparer.Ordinal);
        Assert.Equal(expected, plan.Select(t => $"{t.Name} [{string.Join(", ", t.Dims)}]").Order(StringComparer.Ordinal));
    }

    [Fact]
    public void Unknown_names_are_refused_with_the_nearest() =>
        Assert.Contains("did you mean 'sd15'", Assert.Throws<UsageException>(() => SynthPreset.Find("sd1.5")).Message, StringComparison.Ordinal);
}
