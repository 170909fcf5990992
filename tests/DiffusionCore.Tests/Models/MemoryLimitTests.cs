using DiffusionCore.Pipelines;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;
using DiffusionCore.Synthesis;
using DiffusionCore.Tests.Runtime;
using DiffusionCore.Tests.Weights;
using DiffusionCore.Tests.Weights.SingleFile;
using DiffusionCore.Weights;

namespace DiffusionCore.Tests.Models;

/// <summary>Requests under a limit: what is streamed, split or refused, and that it changes no byte.</summary>
public sealed class MemoryLimitTests : IDisposable
{
    private static readonly GenerateRequest Small = new()
    {
        Prompt = "a lighthouse in fog", Guidance = 5, Seed = 11, Sampler = "ddim", Width = 32, Height = 32, Options = new SamplerOptions { Steps = 2 },
    };

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("sd2-tiny", StorageType.F16, 1)]
    [InlineData("sd2-tiny", StorageType.F16, 2)]
    [InlineData("sd2-tiny", StorageType.F32, 2)]
    [InlineData("sdxl-tiny", StorageType.BF16, 2)]
    public void Below_the_weights_they_are_streamed_and_the_image_is_the_same(string preset, StorageType type, int threads)
    {
        string model = folder.Synthetic(preset, type);
        byte[] resident = Assert.Single(Make(model, Small, threads).Images);
        foreach (double share in (double[])[0.02, 0.5])
        {
            var (images, notes) = Make(model, Small with { MemoryLimit = Between(model, Small, share, threads) }, threads);
            Assert.Equal(resident, Assert.Single(images));
            string note = Assert.Single(notes, n => n.Contains("the denoiser", StringComparison.Ordinal));
            Assert.Contains("read from disk whenever they are needed", note, StringComparison.Ordinal);
            Assert.Contains("MB", note, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void LoRAs_are_merged_into_what_is_streamed()
    {
        string model = folder.Synthetic("sd2-tiny", StorageType.F16), lora = Lora(model), merged = folder["merged"];
        var options = new ModelOptions { Loras = [lora] };
        byte[] plain = Make(model, Small, 2).Images[0], with = Make(model, Small, 2, options).Images[0];
        Assert.NotEqual(plain, with);
        Assert.Equal(plain, Make(model, Small, 2, new ModelOptions { Loras = [lora + ":0"] }).Images[0]);
        long limit = Between(model, Small, 0.02);
        Assert.Equal(with, Make(model, Small with { MemoryLimit = limit }, 2, options).Images[0]);

        // The same weights merged beforehand.
        SynthModel.Write(SynthPreset.Find("sd2-tiny"), merged, 3, StorageType.F16);
        Rewrite(Path.Combine(model, "unet"), Path.Combine(merged, "unet"), lora);
        Assert.Equal(with, Make(merged, Small, 2).Images[0]);
    }

    [Fact]
    public void Single_files_and_shards_are_streamed_too()
    {
        string model = folder.Synthetic("sd2-tiny", StorageType.F16), file = folder["single.safetensors"];
        byte[] resident = Make(model, Small, 2).Images[0];
        long limit = Between(model, Small, 0.1);
        SingleFileTests.WriteSingle(model, file, "sd2-tiny");
        var (images, notes) = Make(file, Small with { MemoryLimit = limit }, 2, new ModelOptions { Tokenizer = Path.Combine(model, "tokenizer"), Prediction = "v_prediction" });
        Assert.Equal(resident, images[0]);
        Assert.Contains(notes, n => n.Contains("the denoiser", StringComparison.Ordinal));

        Shard(Path.Combine(model, "unet"));
        (images, notes) = Make(model, Small with { MemoryLimit = limit }, 2);
        Assert.Equal(resident, images[0]);
        Assert.Contains(notes, n => n.Contains("the denoiser", StringComparison.Ordinal));
    }

    [Fact]
    public void A_batch_that_does_not_fit_is_split_and_changes_no_byte()
    {
        string model = folder.Synthetic("sd-tiny", StorageType.F16);
        var four = Small with { Count = 4, Batch = 4, Width = 48, Height = 32 };
        var (together, silent) = Make(model, four, 2);
        Assert.Empty(silent);
        using var loaded = ModelFolder.Load(model);
        using var device = new CpuDevice(2);
        using var pipeline = new GeneratePipeline(loaded, device) { Occupied = 0 };
        long three = pipeline.DenoisingNeeds(four, 3).All;
        Assert.True(three < pipeline.DenoisingNeeds(four, 4).All);
        var (split, notes) = Make(model, four with { MemoryLimit = three }, 2);
        Assert.Equal(together, split);
        Assert.Contains("4 images at once need", Assert.Single(notes, n => n.Contains("at a time", StringComparison.Ordinal)), StringComparison.Ordinal);
        Assert.Contains(notes, n => n.Contains("making 3 at a time", StringComparison.Ordinal));
    }

    [Fact]
    public void Parts_give_their_memory_back_for_one_another()
    {
        string model = folder.Synthetic("sd2-tiny", StorageType.F16);
        var request = Small with { Count = 2 };
        var together = Make(model, request, 2).Images;
        // Just enough for the denoiser: the decoder and it cannot be there at once.
        var (images, notes) = Make(model, request with { MemoryLimit = Between(model, request, 1) }, 2);
        Assert.Equal(together, images);
        Assert.DoesNotContain(notes, n => n.Contains("the denoiser", StringComparison.Ordinal));
    }

    [Fact]
    public void A_pipeline_is_used_again_under_other_limits_and_sizes()
    {
        string path = folder.Synthetic("sd2-tiny", StorageType.F16);
        GenerateRequest wide = Small with { Width = 64 };
        long half = Between(path, Small, 0.5), little = Between(path, wide, 0.1);
        byte[] small = Make(path, Small, 2).Images[0], large = Make(path, wide, 2).Images[0];
        using var model = ModelFolder.Load(path);
        using var device = new CpuDevice(2);
        using var pipeline = new GeneratePipeline(model, device) { Occupied = 0 };
        foreach (var (request, expected) in new[] { (Small, small), (Small with { MemoryLimit = half }, small), (wide with { MemoryLimit = little }, large), (Small with { MemoryLimit = half }, small), (wide, large) })
            pipeline.Generate(request, i => Assert.Equal(expected, i.Pixels));
    }

    [Fact]
    public void Too_little_is_refused_before_anything_runs_and_says_the_sizes()
    {
        string model = folder.Synthetic("sd2-tiny", StorageType.F16);
        int reported = 0;
        var e = Assert.Throws<MemoryException>(() => Make(model, Small with { MemoryLimit = 400_000 }, 2, report: _ => reported++));
        Assert.Matches(@"need .* MB .*the limit is 0\.40 MB.*--memory-limit", e.Message);
        Assert.Contains("at least", e.Message, StringComparison.Ordinal);
        Assert.Equal(0, reported);
    }

    [Fact]
    public void A_file_cut_off_while_it_is_streamed_is_named_and_no_image_comes_of_it()
    {
        string model = folder.Synthetic("sd2-tiny", StorageType.F16), file = Directory.GetFiles(Path.Combine(model, "unet"), "*.safetensors")[0];
        var request = Small with { MemoryLimit = Between(model, Small, 0.02) };
        int made = 0;
        var e = Assert.Throws<ModelFileException>(() => Make(model, request, 2, report: _ => Cut(file), finished: () => made++));
        Assert.Contains("unet", e.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', e.Message);
        Assert.Equal(0, made);

        static void Cut(string path)
        {
            using var stream = new FileStream(path, FileMode.Open);
            stream.SetLength(stream.Length / 2);
        }
    }

    [Fact]
    public void An_interruption_while_streaming_leaves_a_pipeline_that_can_be_used()
    {
        string path = folder.Synthetic("sd2-tiny", StorageType.F16);
        byte[] expected = Make(path, Small, 2).Images[0];
        using var model = ModelFolder.Load(path);
        using var device = new CpuDevice(2);
        using var pipeline = new GeneratePipeline(model, device) { Occupied = 0 };
        var request = Small with { MemoryLimit = Between(path, Small, 0.02) };
        using var stop = new CancellationTokenSource();
        Assert.Throws<OperationCanceledException>(() => pipeline.Generate(request, _ => Assert.Fail("an image"), _ => stop.Cancel(), stop.Token));
        pipeline.Generate(request, i => Assert.Equal(expected, i.Pixels));
    }

    /// <summary>Bytes between what a request's denoiser needs at least (0) and with all its weights (1).</summary>
    private static long Between(string path, GenerateRequest request, double share, int threads = 2)
    {
        using var model = ModelFolder.Load(path);
        using var device = new CpuDevice(threads);
        using var pipeline = new GeneratePipeline(model, device) { Occupied = 0 };
        var needs = pipeline.DenoisingNeeds(request, 1);
        return needs.Least + (long)(share * (needs.All - needs.Least));
    }

    private string Lora(string model)
    {
        using var file = Checkpoint.Open(Path.Combine(model, "unet"));
        var tensors = new List<TensorData>();
        foreach (string name in file.Names.Where(n => n.EndsWith(".weight", StringComparison.Ordinal)))
        {
            file.TryGet(name, out var entry);
            if (entry.Dims.Length < 2 || name.Contains("time_emb", StringComparison.Ordinal)) continue;
            string layer = "lora_unet_" + name[..^".weight".Length].Replace('.', '_');
            tensors.Add(Floats($"{layer}.lora_down.weight", [2, .. entry.Dims[1..]], tensors.Count));
            tensors.Add(Floats($"{layer}.lora_up.weight", [entry.Dims[0], 2, .. entry.Dims[2..].Select(_ => 1L)], tensors.Count));
        }

        SafetensorsWriter.Write(folder["lora.safetensors"], tensors);
        return folder["lora.safetensors"];
    }

    private static TensorData Floats(string name, long[] dims, int seed)
    {
        float[] values = [.. GraphRunner.Numbers(dims.Aggregate(1L, (p, d) => p * d), seed).Select(v => (float)v * 0.05f)];
        return new TensorData(name, StorageType.F32, dims, System.Runtime.InteropServices.MemoryMarshal.AsBytes(values.AsSpan()).ToArray());
    }

    private static void Rewrite(string from, string to, string lora)
    {
        using var set = LoraSet.Open([lora]);
        using var source = Checkpoint.Open(from);
        source.Merge = new LoraMerge(source, "unet", set.Uses);
        string target = Directory.GetFiles(to, "*.safetensors")[0];
        File.Delete(target);
        SafetensorsWriter.Write(target, Tensors(source, source.Names));
    }

    private static void Shard(string unet)
    {
        string whole = Directory.GetFiles(unet, "*.safetensors")[0];
        using (var source = Checkpoint.Open(unet))
        {
            string[] names = [.. source.Names];
            string[] shards = ["a.safetensors", "b.safetensors"];
            for (int s = 0; s < 2; s++) SafetensorsWriter.Write(Path.Combine(unet, shards[s]), Tensors(source, names.Where((_, i) => i % 2 == s)));
            File.WriteAllText(
                Path.Combine(unet, "diffusion_pytorch_model.safetensors.index.json"),
                $"{{\"weight_map\": {{{string.Join(", ", names.Select((n, i) => $"\"{n}\": \"{shards[i % 2]}\""))}}}}}");
        }

        File.Delete(whole);
    }

    private static List<TensorData> Tensors(Checkpoint source, IEnumerable<string> names) => [.. names.Select(name =>
    {
        source.TryGet(name, out var entry);
        var bytes = new byte[entry.Bytes];
        source.Read(name, bytes);
        return new TensorData(name, entry.Type, entry.Dims, bytes);
    })];

    private static (List<byte[]> Images, List<string> Notes) Make(
        string path, GenerateRequest request, int threads, ModelOptions? options = null, Action<GenerateProgress>? report = null, Action? finished = null)
    {
        using var model = ModelFolder.Load(path, options);
        using var device = new CpuDevice(threads);
        var notes = new List<string>();
        using var pipeline = new GeneratePipeline(model, device) { Note = notes.Add, Occupied = 0 };
        var images = new List<byte[]>();
        pipeline.Generate(
            request,
            i =>
            {
                finished?.Invoke();
                images.Add(i.Pixels);
            },
            report);
        return (images, notes);
    }
}
