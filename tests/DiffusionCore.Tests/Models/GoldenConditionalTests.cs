using System.Runtime.InteropServices;
using DiffusionCore.Models;
using DiffusionCore.Runtime;
using DiffusionCore.Tests.Weights;
using DiffusionCore.Weights;

namespace DiffusionCore.Tests.Models;

/// <summary>The networks of latent diffusion against the peers' own. Their float32 runs differ from their float64 runs by about 1e-6 of the largest output.</summary>
[Trait("Category", "Conformance")]
public class GoldenConditionalTests
{
    private const double Bound = 1e-5;

    [ConformanceTheory]
    [InlineData("unet2dcond_sd15")]
    [InlineData("unet2dcond_sdxl")]
    [InlineData("unet2dcond_lcm_timecond")]
    [InlineData("unet2dcond_inpaint9")]
    [InlineData("unet2dcond_ctrl_residuals")]
    [InlineData("clip_text_l")]
    [InlineData("t2i_adapter")]
    [InlineData("dit")]
    [InlineData("ldm_bert")]
    [InlineData("frido_bert")]
    [InlineData("ldm_unet_class")]
    [InlineData("ldm_unet_uncond_scaleshift")]
    [InlineData("adm_unet")]
    [InlineData("adm_unet_c")]
    [InlineData("frido_pyunet")]
    [InlineData("edm_songunet_ddpmpp")]
    [InlineData("edm_songunet_ncsnpp")]
    [InlineData("edm_dhariwal")]
    [InlineData("edm_iddpm")]
    [InlineData("edm2_unet")]
    [InlineData("song_ddpmpp_vp")]
    [InlineData("song_ncsnpp_skip_b")]
    [InlineData("song_ncsnpp_ve")]
    public void A_network_gives_the_numbers_of_the_peer(string name)
    {
        using var model = GoldenModel.Open(name);
        model.Check(Bound);
    }

    public static TheoryData<string> Classifiers() => GoldenSampling.Folders("adm_classifier");

    /// <summary>Logits, and the gradient of the class's log-probability with respect to the image.</summary>
    [ConformanceTheory]
    [MemberData(nameof(Classifiers))]
    public void A_classifier_gives_the_logits_and_the_gradient_of_the_peer(string name)
    {
        using var model = GoldenModel.Open(name);
        model.Check(Bound);
    }

    /// <summary>The other outputs are whole sampling runs.</summary>
    [ConformanceFact]
    public void A_consistency_model_gives_the_numbers_of_the_peer()
    {
        using var model = GoldenModel.Open("cm_samplers");
        model.Check(Bound, "out.F_raw", "out.ancestral", "out.dpm", "out.dpm_churn", "out.euler", "out.heun", "out.heun_churn", "out.multistep", "out.multistep_noclip", "out.onestep", "out.progdist");
    }

    /// <summary>The peer ran the raw network at the time 100 sigma, which its inputs do not hold.</summary>
    [ConformanceFact]
    public void A_consistency_model_gives_the_raw_numbers_of_the_peer()
    {
        using var model = GoldenModel.Open("cm_samplers");
        float[] times = Array.ConvertAll(MemoryMarshal.Cast<byte, float>(GoldenModel.Read(model.IO, "in.sigmas")).ToArray(), s => 100 * s);
        var results = RunWith(model, new TensorData("in.timesteps", StorageType.F32, [2], MemoryMarshal.AsBytes(times.AsSpan()).ToArray()));
        Assert.Equal(["out.F_raw", "out.denoised_edm", "out.denoised_consistency"], results.Select(r => r.Name));
        GoldenModel.AssertClose(GoldenModel.Read(model.IO, "out.F_raw"), results[0].Data.Span, Bound, "out.F_raw");
    }

    /// <summary>The peer ran it with a conditioning scale of 0.75, which its inputs do not hold.</summary>
    [ConformanceFact]
    public void A_ControlNet_gives_the_numbers_of_the_peer()
    {
        using var model = GoldenModel.Open("controlnet_sd15");
        var results = RunWith(model, new TensorData("in.conditioning_scale", StorageType.F32, [], BitConverter.GetBytes(0.75f)));
        Assert.Equal(["out.down0", "out.down1", "out.down2", "out.down3", "out.mid"], results.Select(r => r.Name));
        foreach (var result in results) GoldenModel.AssertClose(GoldenModel.Read(model.IO, result.Name), result.Data.Span, Bound, result.Name);
    }

    private static List<TensorData> RunWith(GoldenModel model, TensorData more)
    {
        using var folder = new TemporaryFolder();
        var tensors = model.IO.Names.Where(n => n.StartsWith("in.", StringComparison.Ordinal)).Select(n =>
        {
            model.IO.TryGet(n, out var entry);
            return new TensorData(n, entry.Type, entry.Dims, GoldenModel.Read(model.IO, n));
        });
        folder.Write("in.safetensors", SafetensorsWriter.ToArray(tensors.Append(more)));
        using var inputs = Checkpoint.Open(folder["in.safetensors"]);
        using var device = new CpuDevice(2);
        using var component = Component.Load(model.Folder);
        Assert.Empty(component.Account.Unused);
        return Component.Run(component, inputs, device);
    }
}
