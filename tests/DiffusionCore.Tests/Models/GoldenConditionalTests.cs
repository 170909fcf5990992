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
    public void A_network_gives_the_numbers_of_the_peer(string name)
    {
        using var model = GoldenModel.Open(name);
        model.Check(Bound);
    }
}
