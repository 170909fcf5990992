using System.Runtime.InteropServices;
using DiffusionCore.Models;
using DiffusionCore.Pipelines;
using DiffusionCore.Runtime;

namespace DiffusionCore.Tests.Models;

[Trait("Category", "Conformance")]
public class TiledDecoderTests
{
    private const int Height = 64, Width = 52;

    /// <summary>
    /// A smooth latent is the hard case: group norms enlarge what little a tile has, so that tiles with statistics of their own differ from the
    /// whole by 400/255 here, and with statistics estimated once by 23/255. Random weights are far more sensitive than trained ones.
    /// </summary>
    [ConformanceTheory]
    [InlineData("autoencoder_kl_sd", 24, 8, 1)]
    [InlineData("autoencoder_kl_sd", 32, 16, 2)]
    [InlineData("vq_model", 24, 8, 1)]
    [InlineData("frido_msvqgan", 24, 8, 1)]
    public void Tiles_differ_from_the_whole_by_less_than_a_step_of_a_byte(string name, int tile, int overlap, int doublings)
    {
        using var golden = GoldenModel.Open(name);
        using var component = Component.Load(golden.Folder);
        var (error, _) = Compare((IFirstStage)component.Network, new TilingOptions(tile, overlap, doublings));
        Assert.True(error <= 1, $"{error:F3}/255");
    }

    [ConformanceFact]
    public void With_a_pass_per_norm_the_tiles_are_exact()
    {
        using var golden = GoldenModel.Open("autoencoder_kl_sd");
        using var component = Component.Load(golden.Folder);
        var (error, passes) = Compare((IFirstStage)component.Network, new TilingOptions(24, 12, 1, Tolerance: 0));
        Assert.Equal(5, passes);
        Assert.True(error <= 0.002, $"{error:F5}/255");
        var (rough, none) = Compare((IFirstStage)component.Network, new TilingOptions(24, 12, 1, Passes: 0));
        Assert.Equal(0, none);
        Assert.True(rough > 1, $"{rough:F3}/255: the estimate alone should not do here");
    }

    [RealModelFact("taef2")]
    public void Tiles_of_a_trained_decoder_without_norms_are_exact()
    {
        using var component = Component.Load(RealModels.Folder("taef2")!);
        var (error, passes) = Compare((IFirstStage)component.Network, new TilingOptions(32, 16));
        Assert.Equal(0, passes);
        Assert.True(error <= 0.002, $"{error:F5}/255");
    }

    [ConformanceFact]
    public void One_tile_is_the_whole_to_the_last_bit_and_images_do_not_see_each_other()
    {
        using var golden = GoldenModel.Open("vq_model");
        using var component = Component.Load(golden.Folder);
        var stage = (IFirstStage)component.Network;
        using var device = new CpuDevice(2);
        using var weights = device.CreateWeightStore();
        float[] latent = Latent(stage), whole = Untiled(device, stage, weights, latent);
        using var single = new TiledDecoder(device, new TiledPlan(device, stage, Height, Width, new TilingOptions()), weights);
        var images = new float[2 * whole.Length];
        single.Decode([.. Latent(stage, 3), .. latent], images);
        Assert.Equal(1, single.Plan.Tiles);
        Assert.Equal(whole, images[whole.Length..]);

        using var tiled = new TiledDecoder(device, new TiledPlan(device, stage, Height, Width, new TilingOptions(32, 8)), weights);
        var alone = new float[whole.Length];
        tiled.Decode([.. Latent(stage, 3), .. latent], images);
        tiled.Decode(latent, alone);
        Assert.Equal(alone, images[whole.Length..]);
        Assert.Throws<ArgumentException>(() => tiled.Decode(latent.AsSpan(1), alone));
        Assert.Throws<OperationCanceledException>(() => tiled.Decode(latent, alone, new CancellationToken(true)));
    }

    [ConformanceFact]
    public void The_memory_is_known_before_and_is_a_part_of_the_whole_ones()
    {
        using var golden = GoldenModel.Open("autoencoder_kl_sd");
        using var component = Component.Load(golden.Folder);
        var stage = (IFirstStage)component.Network;
        using var device = new CpuDevice(1);
        var g = new Graph();
        g.Output("image", stage.DecodeFromLatent(g, g.Input("latent", new Shape(1, 256, 256, stage.LatentChannels))));
        long whole = device.Plan(g).ArenaBytes;
        var plan = new TiledPlan(device, stage, 256, 256, new TilingOptions(32, 12));
        Assert.True(plan.Bytes * 3 < whole, $"{plan.Bytes} of {whole}");
        Assert.True(plan.Bytes > plan.Head.ArenaBytes + plan.Tile.ArenaBytes);
    }

    [Theory]
    [InlineData(2, 1, 2, 1)]
    [InlineData(64, 33, 2, 1)]
    [InlineData(64, 1, 2, 1)]
    [InlineData(64, 16, 0, 1)]
    [InlineData(64, 16, 2, -1)]
    public void Options_out_of_range_are_errors(int tile, int overlap, int doublings, int passes) =>
        Assert.Throws<UsageException>(() => new TilingOptions(tile, overlap, doublings, passes).Check());

    // The largest difference in steps of a byte, where the image spans [-1, 1].
    private static (double Error, int Passes) Compare(IFirstStage stage, TilingOptions options)
    {
        using var device = new CpuDevice(2);
        using var weights = device.CreateWeightStore();
        float[] latent = Latent(stage), whole = Untiled(device, stage, weights, latent), images = new float[whole.Length];
        using var decoder = new TiledDecoder(device, new TiledPlan(device, stage, Height, Width, options), weights);
        Assert.True(decoder.Plan.Tiles >= 4);
        Array.Fill(images, float.NaN);
        decoder.Decode(latent, images);
        double error = 0;
        for (int i = 0; i < whole.Length; i++) error = Math.Max(error, float.IsNaN(images[i]) ? double.PositiveInfinity : Math.Abs(whole[i] - images[i]) * 127.5);
        return (error, decoder.Passes);
    }

    private static float[] Latent(IFirstStage stage, double phase = 0)
    {
        var latent = new float[Height * Width * stage.LatentChannels];
        for (int i = 0; i < latent.Length; i++)
        {
            int c = i % stage.LatentChannels, x = i / stage.LatentChannels % Width, y = i / stage.LatentChannels / Width;
            latent[i] = (float)(0.18 * (Math.Sin(0.045 * y + c + phase) + Math.Cos(0.06 * x - 2 * c) + (x - 26) / 52.0));
        }

        return latent;
    }

    private static float[] Untiled(Device device, IFirstStage stage, WeightStore weights, float[] latent)
    {
        var g = new Graph();
        g.Output("image", stage.DecodeFromLatent(g, g.Input("latent", new Shape(1, Height, Width, stage.LatentChannels))));
        using var executable = device.Prepare(device.Plan(g), weights);
        using var buffer = device.Allocate(latent.Length * sizeof(float));
        device.Upload(MemoryMarshal.AsBytes(latent.AsSpan()), buffer);
        executable.Bind("latent", buffer);
        executable.Run(Rate.Request);
        executable.Run(Rate.Step);
        var image = new float[executable.Output("image").Bytes / sizeof(float)];
        device.Download(executable.Output("image"), MemoryMarshal.AsBytes(image.AsSpan()));
        return image;
    }
}
