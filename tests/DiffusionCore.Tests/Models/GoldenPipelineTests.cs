using System.Runtime.InteropServices;
using System.Text.Json;
using DiffusionCore.Json;
using DiffusionCore.Models;
using DiffusionCore.Noise;
using DiffusionCore.Pipelines;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;
using DiffusionCore.Weights;

namespace DiffusionCore.Tests.Models;

/// <summary>Whole runs against the peer's: noise, loop, first stage, pixels.</summary>
[Trait("Category", "Conformance")]
public sealed class GoldenPipelineTests : IDisposable
{
    private const string Folder = "golden-pipelines";

    private readonly string folder = Directory.CreateTempSubdirectory("dcore-tests-").FullName;

    public void Dispose() => Directory.Delete(folder, recursive: true);

    [ConformanceTheory]
    [InlineData("ddpm_fast")]
    [InlineData("ddim_fast")]
    [InlineData("ddpm_sample_pred")]
    [InlineData("dit_fast")]
    public void A_pipeline_makes_the_peers_pixels(string name)
    {
        using var golden = JsonDocument.Parse(File.ReadAllBytes(ConformanceData.PathOf(Folder, name, "golden.json")));
        var root = golden.RootElement;
        var parts = new List<string>();
        foreach (string part in (string[])["unet", "transformer", "vae"])
            if (root.TryGetProperty(part + "_config", out var config)) parts.Add(Part(part, config.GetRawText(), ConformanceData.PathOf(Folder, name, part + ".safetensors")));
        Directory.CreateDirectory(Path.Combine(folder, "scheduler"));
        File.WriteAllText(Path.Combine(folder, "scheduler", "scheduler_config.json"), root.GetProperty("scheduler_config").GetRawText());
        File.WriteAllText(Path.Combine(folder, "model_index.json"), $"{{\"_class_name\": \"{root.GetProperty("pipeline").GetString()}\", {string.Join(", ", parts)}, \"scheduler\": [\"diffusers\", \"x\"]}}");

        using var tensors = Checkpoint.Open(ConformanceData.PathOf(Folder, name, "golden.safetensors"));
        var want = Floats(tensors, "image");
        using var model = ModelFolder.Load(folder);
        using var device = new CpuDevice(2);
        using var pipeline = new GeneratePipeline(model, device);
        var request = new GenerateRequest
        {
            Options = new SamplerOptions { Steps = root.GetProperty("steps").GetInt32() }, Noise = new NoiseSettings { Custom = _ => new Recorded(tensors) },
            Classes = root.TryGetProperty("class_labels", out var labels) ? [.. labels.EnumerateArray().Select(l => l.GetInt32())] : [],
            Guidance = root.TryGetProperty("guidance_scale", out var scale) ? scale.GetDouble() : 1,
        };
        byte[]? got = null;
        pipeline.Generate(request, image => got = image.Pixels);
        Assert.Equal(want.Length, got!.Length);
        for (int i = 0; i < want.Length; i++) Assert.True(Math.Abs(want[i] * 255 - got[i]) < 0.51, $"{name}[{i}]: {want[i] * 255} and {got[i]}");
    }

    public static TheoryData<string> Runs()
    {
        var data = new TheoryData<string>();
        if (ConformanceData.Folder is null)
        {
            data.Add("no data");
            return data;
        }

        using var golden = JsonDocument.Parse(File.ReadAllBytes(ConformanceData.PathOf(Folder, "e2e_sd_tiny", "golden.json")));
        foreach (var run in golden.RootElement.GetProperty("runs").EnumerateArray()) data.Add(run.GetProperty("name").GetString()!);
        return data;
    }

    [ConformanceTheory]
    [MemberData(nameof(Runs))]
    public void A_latent_run_agrees_step_by_step(string name)
    {
        const string Golden = "e2e_sd_tiny";
        using var golden = JsonDocument.Parse(File.ReadAllBytes(ConformanceData.PathOf(Folder, Golden, "golden.json")));
        var run = golden.RootElement.GetProperty("runs").EnumerateArray().First(r => r.GetProperty("name").GetString() == name);
        foreach (string part in (string[])["unet", "vae"])
            Part(part, File.ReadAllText(ConformanceData.PathOf(Folder, Golden, part + "_config.json")), ConformanceData.PathOf(Folder, Golden, part + ".safetensors"));
        using var unet = Component.Load(Path.Combine(folder, "unet"));
        using var vae = Component.Load(Path.Combine(folder, "vae"));
        using var tensors = Checkpoint.Open(ConformanceData.PathOf(Folder, Golden, "golden.safetensors"));
        using var device = new CpuDevice(2);
        using var weights = device.CreateWeightStore();
        using var stage = new FirstStage(device, (IFirstStage)vae.Network);

        double guidance = run.GetProperty("guidance_scale").GetDouble();
        int steps = run.GetProperty("steps").GetInt32();
        double? strength = run.GetProperty("img2img_strength") is { ValueKind: JsonValueKind.Number } s ? s.GetDouble() : null;
        var config = SchedulerConfig.Read(ConfigFile.Parse("scheduler_config.json", System.Text.Encoding.UTF8.GetBytes(run.GetProperty("scheduler").GetRawText())));
        var sampler = Sampler.Plan(config, new SamplerOptions { Steps = steps, SkipSteps = strength is { } part0 ? steps - (int)(steps * part0) : 0 });
        Assert.Equal(run.GetProperty("timesteps").EnumerateArray().Select(t => t.GetDouble()), sampler.Evaluations.Select(e => e.Time), (a, b) => Math.Abs(a - b) < 1e-3);

        bool guided = guidance > 1;
        float[] cond = Floats(tensors, "in.cond"), context = guided ? [.. Floats(tensors, "in.uncond"), .. cond] : cond;
        var denoiser = new TextDenoiser("unet", (UNet2DConditionModel)unet.Network, 4, null, []);
        using var session = new DenoiseSession(device, denoiser, "unet", weights, sampler, new SessionShape(1, 8, 8, guided) { Tokens = 20 }, new MemoryBudget(device, null));
        session.Start(new DenoiseStart
        {
            Seeds = [0], Guidance = guidance,
            Noise = new NoiseSettings { Custom = _ => new Given(Floats(tensors, strength is null ? "in.latents" : "in.noise")) },
            Conditioning = new Dictionary<string, byte[]> { [TextDenoiser.Context] = MemoryMarshal.AsBytes(context.AsSpan()).ToArray() },
            Latents = strength is null ? null : stage.Encode(ChannelsLast(Floats(tensors, "in.image"), 3, 32 * 32), 32, 32, new MemoryBudget(device, null)),
        });
        for (int i = 0; i < sampler.Evaluations.Count; i++)
        {
            session.Evaluate(i);
            var want = ChannelsLast(Floats(tensors, $"{name}.latent.{i}"), 4, 64);
            var got = session.Download();
            double largest = want.Max(Math.Abs);
            for (int k = 0; k < want.Length; k++) Assert.True(Math.Abs(want[k] - got[k]) <= 1e-4 * largest, $"{name}: latent {i}[{k}]: {want[k]} and {got[k]}");
        }

        var decoded = stage.Decode(session.Download(), 8, 8, new MemoryBudget(device, null));
        var image = ChannelsLast(Floats(tensors, name + ".image"), 3, 32 * 32);
        for (int k = 0; k < image.Length; k++)
            Assert.True(Math.Abs(Math.Clamp(decoded[k] * 0.5 + 0.5, 0, 1) - image[k]) <= 1 / 255.0, $"{name}: pixel {k}: {decoded[k] * 0.5 + 0.5} and {image[k]}");
    }

    private string Part(string name, string config, string weights)
    {
        string to = Path.Combine(folder, name);
        Directory.CreateDirectory(to);
        File.WriteAllText(Path.Combine(to, "config.json"), config);
        File.Copy(weights, Path.Combine(to, "diffusion_pytorch_model.safetensors"));
        return $"\"{name}\": [\"diffusers\", \"x\"]";
    }

    private static float[] Floats(Checkpoint tensors, string name)
    {
        Assert.True(tensors.TryGet(name, out var entry));
        var values = new float[entry.Bytes / sizeof(float)];
        tensors.Read(name, MemoryMarshal.AsBytes(values.AsSpan()));
        return values;
    }

    private static float[] ChannelsLast(float[] x, int channels, int pixels)
    {
        var y = new float[x.Length];
        for (int c = 0; c < channels; c++)
            for (int p = 0; p < pixels; p++) y[p * channels + c] = x[c * pixels + p];
        return y;
    }

    /// <summary>noise.0, noise.1, ... of a golden file.</summary>
    private sealed class Recorded(Checkpoint tensors) : INoiseSource
    {
        private int next;

        public void Normal(Span<float> destination) => Floats(tensors, $"noise.{next++}").CopyTo(destination);
    }

    private sealed class Given(float[] values) : INoiseSource
    {
        public void Normal(Span<float> destination) => values.CopyTo(destination);
    }
}
