using DiffusionCore.Images;
using DiffusionCore.Json;
using DiffusionCore.Models;
using DiffusionCore.Noise;
using DiffusionCore.Pipelines;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;
using DiffusionCore.Tests.Weights;
using DiffusionCore.Weights;

namespace DiffusionCore.Tests.Models;

/// <summary>A second pass at a higher resolution, previews, and which of the text encoder's layers is read, on small made-up weights.</summary>
public sealed class SecondPassTests : IDisposable
{
    private static readonly GenerateRequest Lighthouse = new()
    {
        Prompt = "a lighthouse in fog", Guidance = 5, Seed = 11, Sampler = "ddim", Width = 64, Height = 48, Options = new SamplerOptions { Steps = 3 },
    };

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("sd-tiny", "latent")]
    [InlineData("sd2-tiny", "image-lanczos")]
    [InlineData("sdxl-tiny", "latent-bicubic-antialiased")]
    public void An_image_of_two_passes_depends_neither_on_threads_nor_on_its_companions(string preset, string upscaler)
    {
        string model = folder.Synthetic(preset);
        var request = Lighthouse with { Hires = new HiresOptions { Scale = 1.5, Steps = 2, Upscaler = HiresUpscaler.Find(upscaler) } };
        var together = TestModels.Make(model, request with { Count = 3, Batch = 2 }, threads: 2);
        var alone = TestModels.Make(model, request with { Seed = 13 }, threads: 1);
        Assert.Equal((96, 72), (together[2].Width, together[2].Height));
        Assert.Equal(together[2].Pixels, Assert.Single(alone).Pixels);
        Assert.NotEqual(together[0].Pixels, together[1].Pixels);
    }

    /// <summary>The definition: the first pass's latents, enlarged, noised by the same seed at the new size, and the last steps of a longer schedule.</summary>
    [Fact]
    public void The_second_pass_is_an_image_to_image_run_on_the_enlarged_latent()
    {
        using var model = ModelFolder.Load(folder.Synthetic("sd-tiny"));
        using var device = new CpuDevice(2);
        using var pipeline = new GeneratePipeline(model, device);
        var request = Lighthouse with { Guidance = 1, Hires = new HiresOptions { Width = 96, Height = 96, Steps = 2, Strength = 0.5, Upscaler = HiresUpscaler.Find("latent-nearest") } };
        byte[] got = [];
        pipeline.Generate(request, i => got = i.Pixels);

        float[] context = pipeline.Encode(request.Prompt, request, 1, new MemoryBudget(device, null)).Hidden;
        var conditioning = new Dictionary<string, byte[]> { [TextDenoiser.Context] = System.Runtime.InteropServices.MemoryMarshal.AsBytes(context.AsSpan()).ToArray() };
        var first = pipeline.Session(request with { Hires = null }, 1);
        var plan = pipeline.Plan(request with { Hires = null });
        first.Start(new DenoiseStart { Seeds = [11], Total = 1, Noise = request.Noise, Conditioning = conditioning });
        for (int e = 0; e < plan.Evaluations.Count; e++) first.Evaluate(e);
        float[] latent = first.Download().ToArray();

        // 64x48 covers 96x96 as 128x96; the middle 96 columns stay.
        float[] whole = ImageResize.Run(latent, 6, 8, 4, 12, 16, ResizeFilter.Nearest);
        float[] enlarged = [.. Enumerable.Range(0, 12).SelectMany(y => whole[((y * 16 + 2) * 4)..((y * 16 + 14) * 4)])];
        var longer = Sampler.Plan(model.Scheduler, request.Options with { Steps = 4, SkipSteps = 2 }, "ddim", null);
        Assert.Equal(longer.Evaluations.Select(e => e.Time), pipeline.SecondPlan(request).Evaluations.Select(e => e.Time));
        using var weights = device.CreateWeightStore();
        using var second = new DenoiseSession(device, model.Denoiser, "unet", weights, longer, new SessionShape(1, 12, 12, false) { Tokens = 77 }, new MemoryBudget(device, null));
        second.Start(new DenoiseStart { Seeds = [11], Total = 1, Noise = request.Noise, Conditioning = conditioning, Latents = enlarged });
        for (int e = 0; e < longer.Evaluations.Count; e++) second.Evaluate(e);
        using var stage = new FirstStage(device, model.FirstStage!);
        float[] image = stage.Decode(second.Download(), 12, 12, new MemoryBudget(device, null));
        Assert.Equal(Array.ConvertAll(image, v => (byte)Math.Round(Math.Clamp(v * 0.5f + 0.5f, 0, 1) * 255)), got);
    }

    [Fact]
    public void Steps_of_the_second_pass_are_those_that_are_taken()
    {
        string model = folder.Synthetic("sd-tiny");
        var request = Lighthouse with { Options = new SamplerOptions { Steps = 10 }, Hires = new HiresOptions { Strength = 0.25 } };
        Assert.Equal(10, Steps(model, request));
        Assert.Equal(3, Steps(model, request with { Hires = request.Hires! with { Steps = 3 } }));
        Assert.Equal(10, Steps(model, request with { Hires = request.Hires! with { Strength = 1 } }));
        Assert.Equal(2, Steps(model, request with { Options = new SamplerOptions { Steps = 4, Timesteps = [900, 600, 300, 10] }, Hires = new HiresOptions { Strength = 0.5 } }));
    }

    [Fact]
    public void Progress_counts_both_passes()
    {
        using var model = ModelFolder.Load(folder.Synthetic("sd-tiny"));
        using var device = new CpuDevice(2);
        using var pipeline = new GeneratePipeline(model, device);
        var seen = new List<(int, int)>();
        pipeline.Generate(Lighthouse with { Hires = new HiresOptions { Steps = 2 } }, _ => { }, p => seen.Add((p.Evaluation, p.Evaluations)));
        Assert.Equal([(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)], seen);
    }

    [Theory]
    [InlineData("hires: expected a size of at least", "smaller")]
    [InlineData("hires: the second pass starts from", "init")]
    [InlineData("hires strength: expected more than 0", "strength")]
    [InlineData("hires strength 0.2 of 4 steps leaves none", "none left")]
    [InlineData("hires steps: a list of noise levels", "steps of a list")]
    [InlineData("size: expected multiples of 8", "odd")]
    [InlineData("hires: expected a factor", "factor")]
    [InlineData("clip skip: expected 1 (the last layer) to 2", "layer")]
    [InlineData("prompt: character 3 is half of a surrogate pair (U+D83D)", "surrogate")]
    [InlineData("sampler dpm_adaptive chooses its steps as it goes", "adaptive mask")]
    [InlineData("preview: expected every step", "preview")]
    public void What_does_not_go_together_is_refused_before_anything_runs(string says, string what)
    {
        var image = new SourceImage(64, 48, 3, new float[64 * 48 * 3]);
        var times = Lighthouse with { Options = new SamplerOptions { Steps = 4, Timesteps = [900, 600, 300, 10] } };
        var request = what switch
        {
            "smaller" => Lighthouse with { Hires = new HiresOptions { Width = 64, Height = 40 } },
            "init" => Lighthouse with { Init = image, Hires = new HiresOptions() },
            "strength" => Lighthouse with { Hires = new HiresOptions { Strength = 0 } },
            "none left" => times with { Hires = new HiresOptions { Strength = 0.2 } },
            "steps of a list" => times with { Hires = new HiresOptions { Steps = 2 } },
            "odd" => Lighthouse with { Hires = new HiresOptions { Width = 100, Height = 100 } },
            "layer" => Lighthouse with { ClipSkip = 3 },
            "surrogate" => Lighthouse with { Prompt = "a \ud83d boat" },
            "adaptive mask" => Lighthouse with { Init = image, Mask = new SourceImage(64, 48, 1, new float[64 * 48]), Sampler = "dpm_adaptive" },
            "preview" => Lighthouse with { Preview = new PreviewOptions(0, _ => { }) },
            _ => Lighthouse with { Hires = new HiresOptions { Scale = 0.5 } },
        };
        using var model = ModelFolder.Load(folder.Synthetic("sd-tiny"));
        using var device = new CpuDevice(1);
        using var pipeline = new GeneratePipeline(model, device);
        Assert.Contains(says, Assert.Throws<UsageException>(() => pipeline.Plan(request)).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("ddim", 2, new[] { 2, 4 })]
    [InlineData("heun", 1, new[] { 1, 2, 3, 4, 5 })]
    public void Previews_change_no_byte_and_show_what_the_network_sees(string sampler, int every, int[] steps)
    {
        string model = folder.Synthetic("sd-tiny");
        var request = Lighthouse with { Sampler = sampler, Count = 2, Batch = 2, Options = new SamplerOptions { Steps = 5 } };
        var previews = new List<Preview>();
        var with = TestModels.Make(model, request with { Preview = new PreviewOptions(every, previews.Add) }, 2);
        Assert.Equal(TestModels.Make(model, request, 2).Select(i => i.Pixels), with.Select(i => i.Pixels));
        Assert.Equal(steps, previews.Select(p => p.Step));
        Assert.All(previews, p => Assert.Equal((2, 8, 6, 3), (p.Images.Count, p.Width, p.Height, p.Channels)));
        Assert.NotEqual(previews[0].Images[0], previews[0].Images[1]);
    }

    /// <summary>At the last step of Euler's method the noiseless latent is the result.</summary>
    [Theory]
    [InlineData("sd-tiny")]
    [InlineData("sd2-tiny")]
    public void What_the_network_takes_the_image_to_be_ends_as_the_image(string preset)
    {
        using var model = ModelFolder.Load(folder.Synthetic(preset));
        using var device = new CpuDevice(2);
        using var pipeline = new GeneratePipeline(model, device);
        var request = Lighthouse with { Sampler = "euler", Guidance = 1 };
        var session = pipeline.Session(request, 1);
        var plan = pipeline.Plan(request);
        session.Start(new DenoiseStart { Seeds = [3], Noise = new NoiseSettings() });
        for (int e = 0; e < plan.Evaluations.Count; e++)
        {
            session.KeepsDenoised = e == plan.Evaluations.Count - 1;
            session.Evaluate(e);
        }

        float[] denoised = session.DownloadDenoised(), end = session.Download().ToArray();
        for (int i = 0; i < end.Length; i++) Assert.Equal(end[i], denoised[i], 1e-4f * Math.Max(1, Math.Abs(end[i])));
    }

    /// <summary>Given, or in the model's folder under a usual name; under a memory limit the linear map serves, and that is said.</summary>
    [Theory]
    [InlineData("taesd")]
    [InlineData("elsewhere")]
    public void A_tiny_autoencoder_makes_previews_of_the_images_size(string name)
    {
        string path = folder.Synthetic("sd-tiny");
        WriteTinyAutoencoder(Path.Combine(path, name), latentChannels: 4);
        var previews = new List<Preview>();
        var request = Lighthouse with { Preview = new PreviewOptions(3, previews.Add) };
        using var model = ModelFolder.Load(path, new ModelOptions { Previews = true, PreviewStage = name == "taesd" ? null : Path.Combine(path, name) });
        using var device = new CpuDevice(2);
        using var pipeline = new GeneratePipeline(model, device);
        Assert.Equal($"the tiny autoencoder {Path.Combine(path, name)}", pipeline.PreviewSource(request));
        byte[] image = [];
        pipeline.Generate(request, i => image = i.Pixels);
        var preview = Assert.Single(previews);
        Assert.Equal((64, 48, 3), (preview.Width, preview.Height, preview.Channels));
        Assert.Equal(TestModels.Make(path, Lighthouse, 1)[0].Pixels, image);

        var limited = request with { MemoryLimit = 4_000_000_000 };
        Assert.Contains("linear map of the latent's channels (under a memory limit)", pipeline.PreviewSource(limited), StringComparison.Ordinal);
    }

    [Fact]
    public void A_tiny_autoencoder_for_other_latents_is_refused()
    {
        string path = folder.Synthetic("sd-tiny");
        WriteTinyAutoencoder(folder["sixteen"], latentChannels: 16);
        var options = new ModelOptions { Previews = true, PreviewStage = folder["sixteen"] };
        Assert.Contains("latent_channels: expected 4, the latent's channels, found 16", Assert.Throws<ModelFileException>(() => ModelFolder.Load(path, options)).Message, StringComparison.Ordinal);
        Assert.Contains("takes no tiny autoencoder", Assert.Throws<UsageException>(() => ModelFolder.Load(TestModels.Bundled("fashion-ddpm-32"), options)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_model_of_pixels_shows_its_pixels()
    {
        var previews = new List<Preview>();
        TestModels.Make(TestModels.Bundled("fashion-ddpm-32"), new GenerateRequest { Options = new SamplerOptions { Steps = 2 }, Sampler = "ddim", Preview = new PreviewOptions(2, previews.Add) }, 2);
        var preview = Assert.Single(previews);
        Assert.Equal((32, 32, 1), (preview.Width, preview.Height, preview.Channels));
    }

    [Theory]
    [InlineData("sd-tiny")]
    [InlineData("sdxl-tiny")]
    public void The_layer_that_is_read_counts_from_the_last(string preset)
    {
        string model = folder.Synthetic(preset);
        byte[] own = TestModels.Make(model, Lighthouse, 2)[0].Pixels, last = TestModels.Make(model, Lighthouse with { ClipSkip = 1 }, 2)[0].Pixels, before = TestModels.Make(model, Lighthouse with { ClipSkip = 2 }, 2)[0].Pixels;
        Assert.NotEqual(last, before);
        Assert.Equal(preset == "sd-tiny" ? last : before, own);
    }

    // Recorded once without weights to learn which there are.
    private static void WriteTinyAutoencoder(string path, int latentChannels)
    {
        Directory.CreateDirectory(path);
        string configPath = Path.Combine(path, "config.json");
        File.WriteAllText(configPath, $$"""{"_class_name": "AutoencoderTiny", "latent_channels": {{latentChannels}}, "encoder_block_out_channels": [8, 8, 8, 8], "decoder_block_out_channels": [8, 8, 8, 8]}""");
        string weights = Path.Combine(path, "diffusion_pytorch_model.safetensors");
        SafetensorsWriter.Write(weights, []);
        var draft = new Graph();
        using (var empty = Checkpoint.Open(path))
        {
            IFirstStage network = new AutoencoderTiny(WeightScope.Of(empty, "vae"), AutoencoderTinyConfig.Read(ConfigFile.Load(configPath)));
            draft.Output("latent", network.EncodeToLatent(draft, draft.Input("image", new Shape(1, 16, 16, 3))));
            draft.Output("image", network.DecodeFromLatent(draft, draft.Input("z", new Shape(1, 2, 2, latentChannels))));
        }

        var sources = draft.Nodes.Select(n => n.Op).OfType<WeightOp>().Select(w => w.Source).Distinct();
        SafetensorsWriter.Write(
            weights,
            sources.Select(w =>
            {
                string name = w.Name["vae.".Length..];
                long[] dims = w.Type.Shape.ToArray();
                return new TensorData(name, StorageType.F32, dims, System.Runtime.InteropServices.MemoryMarshal.AsBytes(GoldenModel.Recipe(name, dims).AsSpan()).ToArray());
            }),
            null, overwrite: true);
    }

    private static int Steps(string path, GenerateRequest request)
    {
        using var model = ModelFolder.Load(path);
        using var device = new CpuDevice(2);
        using var pipeline = new GeneratePipeline(model, device);
        return pipeline.SecondPlan(request).Evaluations.Count;
    }
}
