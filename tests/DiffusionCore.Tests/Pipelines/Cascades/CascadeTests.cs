using System.Runtime.InteropServices;
using DiffusionCore.Json;
using DiffusionCore.Models;
using DiffusionCore.Noise;
using DiffusionCore.Pipelines;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;
using DiffusionCore.Tests.Weights;
using DiffusionCore.Weights;

namespace DiffusionCore.Tests.Pipelines.Cascades;

/// <summary>Cascades of tiny made-up networks, and networks that raise the resolution of a given image.</summary>
public sealed class CascadeTests : IDisposable
{
    private static readonly GenerateRequest Two = new() { Count = 2, Seed = 3, Sampler = "ddim", Options = new SamplerOptions { Steps = 3 } };

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData(0)]
    [InlineData(250)]
    public void A_cascade_is_its_stages_by_hand_one_after_the_other(int noiseLevel)
    {
        string path = Cascade(noiseLevel);
        var together = TestModels.Make(path, Two, 2);
        var small = TestModels.Make(folder["cascade/base"], Two with { Seed = GeneratePipeline.PreviousSeed(Two.Seed) }, 1);
        for (int i = 0; i < 2; i++)
        {
            Assert.Equal((8, 8), (small[i].Width, small[i].Height));
            var byHand = TestModels.Make(folder["cascade/raise"], Two with { Count = 1, Seed = Two.Seed + (ulong)i, SmallImages = [Source(small[i])], NoiseLevel = noiseLevel }, 1);
            Assert.Equal((16, 16), (together[i].Width, together[i].Height));
            Assert.Equal(byHand[0].Pixels, together[i].Pixels);
        }

        Assert.NotEqual(together[0].Pixels, together[1].Pixels);
    }

    [Fact]
    public void The_image_follows_the_small_one_and_the_noise_level()
    {
        Cascade(0);
        string raise = folder["cascade/raise"];
        var dark = new SourceImage(8, 8, 1, new float[64]);
        var bright = dark with { Values = [.. Enumerable.Repeat(1f, 64)] };
        var one = Two with { Count = 1 };
        byte[] a = TestModels.Make(raise, one with { SmallImages = [dark] }, 1)[0].Pixels;
        Assert.NotEqual(a, TestModels.Make(raise, one with { SmallImages = [bright] }, 1)[0].Pixels);
        Assert.NotEqual(a, TestModels.Make(raise, one with { SmallImages = [dark], NoiseLevel = 300 }, 1)[0].Pixels);
        Assert.Equal(a, TestModels.Make(raise, one with { SmallImages = [dark with { Width = 4, Height = 4, Values = new float[16] }] }, 1)[0].Pixels);
        // One small image for all, or one for each, whatever the batch.
        var images = TestModels.Make(raise, Two with { SmallImages = [dark, bright], Batch = 2 }, 2);
        Assert.Equal(a, images[0].Pixels);
        Assert.Equal(images[1].Pixels, TestModels.Make(raise, one with { Seed = Two.Seed + 1, SmallImages = [bright] }, 1)[0].Pixels);
    }

    [Fact]
    public void The_network_sees_the_noised_image_enlarged_beside_the_noisy_one()
    {
        // One evaluation of DDIM from noise at a time t lands on the network's own estimate; done here in the interpreter's place by the network's graph.
        Cascade(0);
        using var model = ModelFolder.Load(folder["cascade/raise"]);
        using var device = new CpuDevice(1);
        var unet = (UNet2DModel)model.Network.Network;
        var g = new Graph();
        var x = g.Input("x", new Shape(1, 16, 16, 1));
        g.Output("eps", unet.Record(g, g.Concat(3, x, g.Input("low", new Shape(1, 16, 16, 1))), g.Input("t", new Shape(1)), g.Input("level", new Shape(1), DType.I64)));
        var noise = new LatentNoise(new NoiseSettings(), 1, 1, 16, 16, 1);
        noise.Start([Two.Seed], 0);
        var first = new float[256];
        noise.Draw(first);
        // A bright image enlarged is bright everywhere: 1 in [-1, 1].
        var got = Runtime.GraphRunner.OnDevice(device, g, new Dictionary<string, double[]>
        {
            ["x"] = [.. first.Select(v => (double)v)], ["low"] = [.. Enumerable.Repeat(1.0, 256)], ["t"] = [500], ["level"] = [0],
        })["eps"];
        double bar = NoiseSchedule.Build(model.Scheduler, finiteSigmas: false).AlphaBar[500];
        byte[] image = TestModels.Make(folder["cascade/raise"], Two with { Count = 1, Options = new SamplerOptions { Timesteps = [500] }, SmallImages = [new SourceImage(8, 8, 1, [.. Enumerable.Repeat(1f, 64)])] }, 1)[0].Pixels;
        for (int i = 0; i < 256; i++)
        {
            double x0 = Math.Clamp((first[i] - Math.Sqrt(1 - bar) * got[i]) / Math.Sqrt(bar), -1, 1);
            Assert.InRange(image[i], Math.Floor((x0 + 1) * 127.5 - 0.01), Math.Ceiling((x0 + 1) * 127.5 + 0.01));
        }
    }

    [Fact]
    public void A_low_resolution_image_that_does_not_fit_is_named_with_what_was_expected()
    {
        Cascade(0);
        string raise = folder["cascade/raise"], alone = folder["cascade/base"];
        var fits = new SourceImage(8, 8, 1, new float[64]);
        Refused(raise, Two, "give --low-res");
        Refused(raise, Two with { SmallImages = [new SourceImage(6, 6, 1, new float[36])] }, "expected 16x16 divided by a whole number");
        Refused(raise, Two with { SmallImages = [new SourceImage(8, 4, 1, new float[32])] }, "the same for both sides, found 8x4");
        Refused(raise, Two with { SmallImages = [fits with { Channels = 3, Values = new float[192] }] }, "expected 1 channel, found 3");
        Refused(raise, Two with { SmallImages = [fits with { Values = new float[63] }] }, "expected 64 numbers");
        Refused(raise, Two with { SmallImages = [fits, fits, fits] }, "one for each of 2 images, found 3");
        Refused(raise, Two with { SmallImages = [fits], NoiseLevel = 1000 }, "from 0 to 999");
        Refused(alone, Two with { SmallImages = [fits] }, "makes images from nothing");
        Refused(alone, Two with { NoiseLevel = 5 }, "reads no low-resolution image");
    }

    [Theory]
    [InlineData("""{ "_class_name": "CascadePipeline" }""", "stages", "two stages or more, found 0")]
    [InlineData("""{ "_class_name": "CascadePipeline", "stages": ["base"] }""", "stages", "found 1")]
    [InlineData("""{ "_class_name": "CascadePipeline", "stages": ["base", "../raise"] }""", "../raise", "not a component name")]
    [InlineData("""{ "_class_name": "CascadePipeline", "stages": ["base", "gone"] }""", "gone", "no such component folder")]
    [InlineData("""{ "_class_name": "CascadePipeline", "stages": ["raise", "base"] }""", "in_channels", "reads the former one's image")]
    [InlineData("""{ "_class_name": "CascadePipeline", "stages": ["base", "raise"], "noise_levels": [1, 2] }""", "noise_levels", "expected 1, one for each stage but the first, found 2")]
    [InlineData("""{ "_class_name": "CascadePipeline", "stages": ["base", "raise"], "noise_levels": [1000] }""", "noise_levels", "below 1000")]
    public void A_cascade_whose_index_does_not_fit_is_named(string index, string item, string problem)
    {
        Cascade(0);
        folder.Write("cascade/model_index.json", index);
        string message = Assert.Throws<ModelFileException>(() => ModelFolder.Load(folder["cascade"])).Message;
        Assert.Contains(item, message, StringComparison.Ordinal);
        Assert.Contains(problem, message, StringComparison.Ordinal);
    }

    private static SourceImage Source(GeneratedImage image) => new(image.Width, image.Height, image.Channels, Array.ConvertAll(image.Pixels, v => v / 255f));

    private static void Refused(string path, GenerateRequest request, string what)
    {
        string message = Assert.Throws<UsageException>(() => TestModels.Make(path, request, 1)).Message;
        Assert.Contains(what, message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', message);
    }

    private string Cascade(int noiseLevel)
    {
        Network("cascade/base", 8, 1, "");
        Network("cascade/raise", 16, 2, """ "class_embed_type": "timestep", """);
        folder.Write("cascade/model_index.json", $$"""{ "_class_name": "CascadePipeline", "stages": ["base", "raise"], "noise_levels": [{{noiseLevel}}] }""");
        return folder["cascade"];
    }

    private void Network(string name, int side, int channels, string more)
    {
        var file = ConfigFile.Load(folder.Write(name + "/config.json", $$"""
            {
              "_class_name": "UNet2DModel", "sample_size": {{side}}, "in_channels": {{channels}}, "out_channels": 1, {{more}} "layers_per_block": 1, "norm_num_groups": 4, "attention_head_dim": 4,
              "block_out_channels": [8, 16], "down_block_types": ["DownBlock2D", "AttnDownBlock2D"], "up_block_types": ["AttnUpBlock2D", "UpBlock2D"]
            }
            """));
        folder.Write("empty/model.safetensors", SafetensorsWriter.ToArray([]));
        using var empty = Checkpoint.Open(folder["empty"]);
        var unet = new UNet2DModel(WeightScope.Of(empty, "net"), UNet2DConfig.Read(file));
        var g = new Graph();
        var classes = more.Length > 0 ? g.Input("c", new Shape(1), DType.I64) : (Value?)null;
        g.Output("y", unet.Record(g, g.Input("x", new Shape(1, side, side, channels)), g.Input("t", new Shape(1)), classes));
        int seed = channels;
        folder.Write(name + "/diffusion_pytorch_model.safetensors", SafetensorsWriter.ToArray(g.Nodes.Select(n => n.Op).OfType<WeightOp>().Select(w =>
        {
            long[] dims = w.Source.Type.Shape.ToArray();
            double scale = dims.Length > 1 ? Math.Sqrt(3.0 / dims[1..].Aggregate(1L, (p, d) => p * d)) : 0.5;
            float[] values = [.. Runtime.GraphRunner.Numbers(w.Source.Type.Shape.Count, ++seed).Select(v => (float)(scale * v + (w.Source.Name.Contains("norm", StringComparison.Ordinal) && w.Source.Name.EndsWith("weight", StringComparison.Ordinal) ? 1 : 0)))];
            return new TensorData(w.Source.Name["net.".Length..], StorageType.F32, dims, MemoryMarshal.AsBytes(values.AsSpan()).ToArray());
        })));
    }
}
