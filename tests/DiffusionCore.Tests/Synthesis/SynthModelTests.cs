using System.Runtime.InteropServices;
using DiffusionCore.Json;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;
using DiffusionCore.Synthesis;
using DiffusionCore.Tests.Weights;
using DiffusionCore.Text;
using DiffusionCore.Weights;

namespace DiffusionCore.Tests.Synthesis;

public sealed class SynthModelTests
{
    public static TheoryData<string> Tiny => ["sd-tiny", "sd2-tiny", "sdxl-tiny", "dit-tiny"];

    [Theory]
    [MemberData(nameof(Tiny))]
    public void A_folder_holds_what_its_index_names(string name)
    {
        using var folder = new TemporaryFolder();
        var preset = SynthPreset.Find(name);
        SynthModel.Write(preset, folder["m"], 1, StorageType.F16);
        var index = ModelIndex.Load(folder["m"]);
        Assert.Equal(preset.Pipeline, index.ClassName);
        foreach (var c in preset.Components)
        {
            Assert.Equal((c.Library, c.Class), (index.Get(c.Folder).Library, index.Get(c.Folder).Class));
            ConfigFile.Load(Path.Combine(index.FolderOf(c.Folder), "config.json"));
            using var weights = Checkpoint.Open(index.FolderOf(c.Folder));
            Assert.Equal(c.Tensors.Select(t => t.Name).Order(StringComparer.Ordinal), weights.Names.Order(StringComparer.Ordinal));
            FiniteCheck.Run(weights);
        }

        Assert.Equal(preset.SchedulerClass, SchedulerConfig.Read(ConfigFile.Load(Path.Combine(index.FolderOf("scheduler"), "scheduler_config.json"))).ClassName);
        Assert.Equal(["m"], Directory.GetFileSystemEntries(folder.Path).Select(Path.GetFileName));
    }

    [Theory]
    [InlineData("sd15", "tokenizer", 49408, 49407)]
    [InlineData("sdxl", "tokenizer_2", 49408, 0)]
    [InlineData("sd-tiny", "tokenizer", 1024, 1023)]
    public void Vocabularies_have_the_encoders_size_and_encode_any_text(string name, string component, int size, int pad)
    {
        using var folder = new TemporaryFolder();
        SynthVocabularyOf(name, component, folder["t"]);
        var t = ClipTokenizer.Load(folder["t"]);
        Assert.Equal((size, size - 2, size - 1, pad), (t.VocabularySize, t.Start, t.End, t.Pad));
        foreach (string text in new[] { "a photograph of an astronaut riding a horse", "1 < 2, é 漢 😀 it's", "" })
        {
            var ids = t.Encode(text);
            Assert.All(ids, id => Assert.InRange(id, 0, size - 1));
            Assert.Equal(text.Replace(" ", "", StringComparison.Ordinal), t.Decode(ids).Replace(" ", "", StringComparison.Ordinal));
        }
    }

    [Theory]
    [InlineData(StorageType.F16)]
    [InlineData(StorageType.BF16)]
    [InlineData(StorageType.F32)]
    public void The_same_seed_gives_the_same_bytes_and_another_seed_others(StorageType type)
    {
        using var folder = new TemporaryFolder();
        var preset = SynthPreset.Find("dit-tiny");
        SynthModel.Write(preset, folder["a"], 5, type);
        SynthModel.Write(preset, folder["b"], 5, type);
        SynthModel.Write(preset, folder["c"], 6, type);
        byte[] Of(string m) => File.ReadAllBytes(Path.Combine(folder[m], "transformer", "diffusion_pytorch_model.safetensors"));
        Assert.Equal(Of("a"), Of("b"));
        Assert.NotEqual(Of("a"), Of("c"));
    }

    [Fact]
    public void Products_keep_the_scale_of_what_goes_in_and_norms_are_near_one()
    {
        using var folder = new TemporaryFolder();
        SynthModel.Write(SynthPreset.Find("sd-tiny"), folder["m"], 0, StorageType.F32);
        using var weights = Checkpoint.Open(Path.Combine(folder["m"], "unet"));
        double[] w = Values(weights, "mid_block.resnets.0.conv1.weight"), branch = Values(weights, "mid_block.resnets.0.conv2.weight"), norm = Values(weights, "conv_norm_out.weight");
        Assert.Equal(64 * 64 * 9, w.Length);
        Assert.InRange(w.Average() * Math.Sqrt(576), -0.02, 0.02);
        Assert.Equal(1.0 / 576, w.Average(v => v * v), 0.02 / 576);
        Assert.Equal(0.09 / 576, branch.Average(v => v * v), 0.002 / 576);
        Assert.All(norm, v => Assert.InRange(v, 0.98, 1.02));
        Assert.True(norm.Distinct().Count() > 20, "numbers repeat");
        Assert.True(w.Distinct().Count() > 0.99 * w.Length, "numbers repeat");

        // Neighbours know nothing of each other.
        double lag = Enumerable.Range(0, w.Length - 1).Average(i => w[i] * w[i + 1]) * 576;
        Assert.InRange(lag, -0.02, 0.02);
    }

    [Fact]
    public void What_cannot_be_written_is_a_named_error_and_leaves_nothing()
    {
        using var folder = new TemporaryFolder();
        var preset = SynthPreset.Find("dit-tiny");
        Directory.CreateDirectory(folder["there"]);
        Assert.Contains("exists already", Assert.Throws<FileException>(() => SynthModel.Write(preset, folder["there"], 0, StorageType.F16)).Message, StringComparison.Ordinal);
        Assert.Contains("does not exist", Assert.Throws<FileException>(() => SynthModel.Write(preset, Path.Combine(folder["no"], "m"), 0, StorageType.F16)).Message, StringComparison.Ordinal);
        using var stopped = new CancellationTokenSource();
        stopped.Cancel();
        Assert.ThrowsAny<OperationCanceledException>(() => SynthModel.Write(preset, folder["m"], 0, StorageType.F16, null, stopped.Token));
        Assert.Equal(["there"], Directory.GetFileSystemEntries(folder.Path).Select(Path.GetFileName));
    }

    [Fact]
    public void A_model_that_the_disk_cannot_hold_is_refused_before_anything_is_written()
    {
        using var folder = new TemporaryFolder();
        var huge = new SynthComponent("unet", "diffusers", "X", _ => { }, [new TensorPlan("w", [1L << 40, 1000], 0, 1)]);
        var e = Assert.Throws<FileException>(() => SynthModel.Write(SynthPreset.Find("sd-tiny") with { Components = [huge] }, folder["m"], 0, StorageType.F16));
        Assert.Contains("GB free", e.Message, StringComparison.Ordinal);
        Assert.Equal(ErrorKind.Io, e.Kind);
        Assert.Empty(Directory.GetFileSystemEntries(folder.Path));
    }

    [Fact]
    public void Progress_ends_at_all_bytes()
    {
        using var folder = new TemporaryFolder();
        var preset = SynthPreset.Find("dit-tiny");
        long most = 0;
        var access = new Lock();
        SynthModel.Write(preset, folder["m"], 0, StorageType.F16, (done, total) =>
        {
            Assert.Equal(2 * preset.Parameters, total);
            lock (access) most = Math.Max(most, done);
        });
        Assert.Equal(2 * preset.Parameters, most);
    }

    internal static double[] Values(Checkpoint weights, string name)
    {
        Assert.True(weights.TryGet(name, out var e), name);
        var bytes = new byte[e.Bytes];
        weights.Read(name, bytes);
        return [.. MemoryMarshal.Cast<byte, float>(bytes).ToArray().Select(v => (double)v)];
    }

    private static void SynthVocabularyOf(string preset, string component, string folder)
    {
        var p = SynthPreset.Find(preset);
        SynthModel.Write(p with { Components = [], Tokenizers = [p.Tokenizers.Single(t => t.Folder == component) with { Folder = "t" }] }, folder + "-model", 0, StorageType.F16);
        Directory.Move(Path.Combine(folder + "-model", "t"), folder);
    }
}
