using System.Runtime.InteropServices;
using DiffusionCore.Json;
using DiffusionCore.Noise;
using DiffusionCore.Pipelines;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;
using DiffusionCore.Tests.Models;
using DiffusionCore.Weights;

namespace DiffusionCore.Tests.Pipelines;

/// <summary>Whole runs of CompVis' latent diffusion and of Frido against the authors' own samplers: conditions, every latent that they gave, the image.</summary>
[Trait("Category", "Conformance")]
public sealed class LatentGoldenTests
{
    private const double Bound = 1e-4;

    public static TheoryData<string> Cases() => GoldenSampling.Folders("frido_sample", "ldm_sample");

    [ConformanceTheory]
    [MemberData(nameof(Cases))]
    public void A_run_is_the_authors_step_by_step(string name)
    {
        using var golden = GoldenModel.Open(name);
        var root = ConfigFile.Load(ConformanceData.PathOf("golden", name, "golden.json"));
        var config = ConfigFile.Load(ConformanceData.PathOf("golden", name, "config.json"));
        using var model = ModelFolder.Load(golden.Folder);
        Assert.All(model.Accounts, a => Assert.Empty(a.Unused));
        using var device = new CpuDevice(2);
        using var pipeline = new GeneratePipeline(model, device);
        var noise = Tensor.Read(golden.IO, "in.noise");
        var request = Request(golden, config, model, noise);
        var plan = pipeline.Plan(request);
        Assert.Equal(root.GetOptionalDoubles("timesteps"), plan.Timesteps);

        var seen = new Dictionary<string, float[]>(StringComparer.Ordinal);
        pipeline.Observer = (state, latents) => seen[state.Finished ? $"finished {state.Stage}" : $"{state.Stage} {state.Step}"] = latents.ToArray();
        pipeline.Generate(request, _ => { });
        int stages = model.Stages.Count, checkedOutputs = 0;
        float[] latent = seen[$"finished {stages - 1}"];
        foreach (string output in golden.IO.Names.Where(n => n.StartsWith("out.", StringComparison.Ordinal)))
        {
            var want = Tensor.Read(golden.IO, output);
            checkedOutputs++;
            float[] got = output["out.".Length..] switch
            {
                "context" => pipeline.EncodeCondition(Rows(golden.IO, "in.tokens", "in.class_label")),
                "uncond_context" => pipeline.EncodeCondition(Rows(golden.IO, "in.uncond_tokens", "in.uncond_label")),
                "stage0_first_x" or "first_x" => seen["0 0"],
                "second_x" => seen["0 1"],
                "stage0_first_pred_x0" or "first_pred_x0" => Denoised(plan, Part(noise, model.Stages[0].Channels), seen["0 0"]),
                "latent_stage0" => seen[$"0 {plan.Steps - 1}"],
                "latent_stage0_pooled" => seen["finished 0"],
                "stage1_first_x" => Beside(seen["finished 0"], seen["1 0"], want),
                "latent" => latent,
                "image" => Images(pipeline, latent, noise),
                "latent_given_stage0" => Given(pipeline, request, Part(noise, model.Stages[0].Channels)),
                _ => throw new InvalidOperationException($"{output} is not known to this test"),
            };
            // Contexts are tokens; everything else is a map.
            AssertClose(output.EndsWith("context", StringComparison.Ordinal) ? want.Values : want.ChannelsLast(), got, $"{name} {output}");
        }

        Assert.True(checkedOutputs >= 4);
    }

    private static GenerateRequest Request(GoldenModel golden, ConfigFile config, ModelFolder model, Tensor noise)
    {
        bool tokens = golden.IO.TryGet("in.tokens", out _);
        long[] labels = golden.IO.TryGet("in.class_label", out _) ? Tensor.Whole(golden.IO, "in.class_label") : [];
        // The authors' null class is the one that this engine takes where none is named.
        if (golden.IO.TryGet("in.uncond_label", out _)) Assert.All(Tensor.Whole(golden.IO, "in.uncond_label"), l => Assert.Equal(model.Classes!.NullClass, (int)l));
        int images = (int)noise.Dims[0], each = noise.Values.Length / images;
        return new GenerateRequest
        {
            Count = images, Batch = images, Width = (int)noise.Dims[3] * model.Factor, Height = (int)noise.Dims[2] * model.Factor, Guidance = config.GetDouble("guidance_scale", 1),
            Classes = [.. labels.Select(l => (int)l)], Tokens = tokens ? Rows(golden.IO, "in.tokens") : [], NegativeTokens = tokens && golden.IO.TryGet("in.uncond_tokens", out _) ? Rows(golden.IO, "in.uncond_tokens") : [],
            Noise = new NoiseSettings { Custom = seed => new Recorded(noise.Values.AsMemory((int)seed * each, each)) },
            Options = new SamplerOptions { Steps = config.GetInt("steps", null), Eta = config.GetDouble("eta", 0) },
        };
    }

    private static int[][] Rows(Checkpoint io, params string[] names)
    {
        string name = names.First(n => io.TryGet(n, out _));
        io.TryGet(name, out var entry);
        long[] all = Tensor.Whole(io, name);
        int each = entry.Dims.Length > 1 ? (int)entry.Dims[1] : 1;
        return [.. Enumerable.Range(0, all.Length / each).Select(i => all.Skip(i * each).Take(each).Select(v => (int)v).ToArray())];
    }

    // What the first step took for the image: from x = A*x0 + S*eps before it and x' = A'*x0 + S'*eps after it.
    private static float[] Denoised(SamplerPlan plan, float[] before, float[] after)
    {
        var first = plan.Evaluations[0];
        var next = plan.Evaluations.First(e => e.Step == 1);
        double determinant = first.Sigma * next.Alpha - next.Sigma * first.Alpha;
        return [.. before.Select((x, i) => (float)((first.Sigma * after[i] - next.Sigma * x) / determinant))];
    }

    private static float[] Images(GeneratePipeline pipeline, float[] latent, Tensor noise)
    {
        int images = (int)noise.Dims[0], each = latent.Length / images;
        return [.. Enumerable.Range(0, images).SelectMany(i => pipeline.Decode(latent.AsSpan(i * each, each), (int)noise.Dims[2], (int)noise.Dims[3]))];
    }

    private static float[] Given(GeneratePipeline pipeline, GenerateRequest request, float[] coarse)
    {
        int each = coarse.Length / request.Count;
        float[] last = [];
        pipeline.Observer = (_, latents) => last = latents.ToArray();
        pipeline.Generate(request with { CoarseLatents = [.. Enumerable.Range(0, request.Count).Select(i => coarse[(i * each)..((i + 1) * each)])] }, _ => { });
        return last;
    }

    // The first channels, channels last.
    private static float[] Part(Tensor x, int channels)
    {
        int all = (int)x.Dims[1];
        float[] last = x.ChannelsLast();
        return [.. Enumerable.Range(0, last.Length / all).SelectMany(p => last[(p * all)..(p * all + channels)])];
    }

    private static float[] Beside(float[] a, float[] b, Tensor like)
    {
        int pixels = (int)(like.Dims[0] * like.Dims[2] * like.Dims[3]), ca = a.Length / pixels, cb = b.Length / pixels;
        return [.. Enumerable.Range(0, pixels).SelectMany(p => a[(p * ca)..((p + 1) * ca)].Concat(b[(p * cb)..((p + 1) * cb)]))];
    }

    private static void AssertClose(float[] want, float[] got, string what) =>
        GoldenModel.AssertClose(MemoryMarshal.AsBytes(want.AsSpan()), MemoryMarshal.AsBytes(got.AsSpan()), Bound, what);

    private sealed record Tensor(long[] Dims, float[] Values)
    {
        public static Tensor Read(Checkpoint file, string name)
        {
            Assert.True(file.TryGet(name, out var entry), name);
            return new Tensor(entry.Dims, MemoryMarshal.Cast<byte, float>(GoldenModel.Read(file, name)).ToArray());
        }

        public static long[] Whole(Checkpoint file, string name)
        {
            file.TryGet(name, out var entry);
            byte[] bytes = GoldenModel.Read(file, name);
            return entry.Type == StorageType.I64 ? MemoryMarshal.Cast<byte, long>(bytes).ToArray() : Array.ConvertAll(MemoryMarshal.Cast<byte, int>(bytes).ToArray(), v => (long)v);
        }

        public float[] ChannelsLast()
        {
            int images = (int)Dims[0], channels = (int)Dims[1], pixels = (int)(Dims[2] * Dims[3]);
            var last = new float[Values.Length];
            for (int i = 0; i < images; i++)
                for (int c = 0; c < channels; c++)
                    for (int p = 0; p < pixels; p++) last[(i * pixels + p) * channels + c] = Values[(i * channels + c) * pixels + p];
            return last;
        }
    }

    // The recorded draw of one image; the runs take no other noise.
    private sealed class Recorded(ReadOnlyMemory<float> draw) : INoiseSource
    {
        private bool drawn;

        public void Normal(Span<float> destination)
        {
            Assert.False(drawn, "noise beyond the recorded draw: this test reads runs without noise between steps");
            Assert.Equal(draw.Length, destination.Length);
            draw.Span.CopyTo(destination);
            drawn = true;
        }
    }
}
