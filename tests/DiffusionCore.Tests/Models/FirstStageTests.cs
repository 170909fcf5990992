namespace DiffusionCore.Tests.Models;

[Trait("Category", "Conformance")]
public class FirstStageTests
{
    /// <summary>The bound is 5e-5 of the largest output; a float32 run of the peer differs from its float64 run by up to 3e-6 of it.</summary>
    private const double Bound = 5e-5;

    [ConformanceTheory]
    [InlineData("autoencoder_kl_sd")]
    [InlineData("vq_model")]
    [InlineData("autoencoder_tiny")]
    [InlineData("ldm_kl")]
    [InlineData("ldm_vq")]
    [InlineData("frido_msvqgan")]
    public void A_first_stage_gives_the_numbers_of_the_peer(string name)
    {
        using var golden = GoldenModel.Open(name);
        golden.Check(Bound);
    }

    [ConformanceFact]
    public void The_recipe_makes_the_stored_weights()
    {
        using var stored = DiffusionCore.Weights.Checkpoint.Open(ConformanceData.PathOf("golden", "vq_model", "model.safetensors"));
        foreach (string name in stored.Names)
        {
            stored.TryGet(name, out var entry);
            var bytes = new byte[entry.Bytes];
            stored.Read(name, bytes);
            Assert.Equal(System.Runtime.InteropServices.MemoryMarshal.Cast<byte, float>(bytes).ToArray(), GoldenModel.Recipe(name, entry.Dims));
        }
    }
}
