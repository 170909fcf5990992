using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Tests.Weights;

public class CheckpointTests
{
    private const string One = "model-00001-of-00002.safetensors", Two = "model-00002-of-00002.safetensors";

    [Fact]
    public void Shards_are_one_set()
    {
        using var folder = Shards($$"""{"a":"{{One}}","b":"{{Two}}","c":"{{Two}}"}""");
        foreach (string path in new[] { folder.Path, folder["model.safetensors.index.json"] })
        {
            using var checkpoint = Checkpoint.Open(path);
            Assert.Equal(folder["model.safetensors.index.json"], checkpoint.Path);
            Assert.Equal(2, checkpoint.Files.Count);
            Assert.Equal(["a", "b", "c"], checkpoint.Names.Order(StringComparer.Ordinal));
            Assert.Equal([1, 2, 3], checkpoint.Names.Order(StringComparer.Ordinal).Select(n => Read(checkpoint, n)));
            Assert.Equal(folder[Two], checkpoint.FileOf("c").Path);
        }
    }

    [Fact]
    public void A_relative_index_finds_its_shards()
    {
        using var folder = Shards($$"""{"a":"{{One}}","b":"{{Two}}","c":"{{Two}}"}""");
        string relative = Path.GetRelativePath(Environment.CurrentDirectory, folder["model.safetensors.index.json"]);
        using var checkpoint = Checkpoint.Open(relative);
        Assert.Equal(3, checkpoint.Count);
    }

    [Fact]
    public void A_tensor_that_the_index_leaves_out_is_part_of_the_set()
    {
        using var folder = Shards($$"""{"a":"{{One}}","b":"{{Two}}"}""");
        using var checkpoint = Checkpoint.Open(folder.Path);
        Assert.Equal(["c"], checkpoint.Names.Except(["a", "b"]));
    }

    [Theory]
    [InlineData("""{"a":"model-00001-of-00002.safetensors","b":"model-00003-of-00002.safetensors"}""", "b", "is missing")]
    [InlineData("""{"a":"../model.safetensors"}""", "a", "not a plain file name")]
    [InlineData("""{"a":"/etc/model.safetensors"}""", "a", "not a plain file name")]
    [InlineData("""{"a":"sub/model.safetensors"}""", "a", "not a plain file name")]
    [InlineData("""{"a":"sub\\model.safetensors"}""", "a", "not a plain file name")]
    [InlineData("""{"a":".."}""", "a", "not a plain file name")]
    [InlineData("""{"a":"."}""", "a", "not a plain file name")]
    [InlineData("""{"a":""}""", "a", "not a plain file name")]
    [InlineData("""{"a":"x\u0000y"}""", "a", "is missing")]
    [InlineData("""{"a":"model-00001-of-00002.safetensors","z":"model-00001-of-00002.safetensors"}""", "z", "is not in the shard 'model-00001-of-00002.safetensors'")]
    [InlineData("""{"a":"model-00002-of-00002.safetensors"}""", "a", "is not in the shard")]
    [InlineData("""{"a":"model-00001-of-00002.safetensors","a":"model-00002-of-00002.safetensors"}""", "a", "given twice")]
    [InlineData("""{"a":1}""", "weight_map.a", "expected a string, found 1")]
    [InlineData("""[]""", "weight_map", "expected an object of strings, found []")]
    [InlineData("""null""", "weight_map", "expected an object of strings, found null")]
    public void A_bad_index_is_named(string map, string? item, string part)
    {
        using var folder = Shards(map);
        var e = Assert.Throws<ModelFileException>(() => Checkpoint.Open(folder.Path).Dispose());
        Assert.Equal(folder["model.safetensors.index.json"], e.File);
        Assert.Equal(item, e.Item);
        Assert.Contains(part, e.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("""{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}""")]
    [InlineData("""{"b":"model-00002-of-00002.safetensors","c":"model-00001-of-00002.safetensors"}""")]
    public void A_tensor_in_two_shards_is_named(string map)
    {
        using var folder = Shards(map, "b");
        var e = Assert.Throws<ModelFileException>(() => Checkpoint.Open(folder.Path).Dispose());
        Assert.Contains("b: is in two shards", e.Message.Replace("c: is not in", "b: is in two shards", StringComparison.Ordinal), StringComparison.Ordinal);
    }

    [Fact]
    public void A_bad_shard_is_named_itself()
    {
        using var folder = Shards($$"""{"a":"{{One}}","b":"{{Two}}","c":"{{Two}}"}""");
        folder.Write(Two, new byte[7]);
        var e = Assert.Throws<ModelFileException>(() => Checkpoint.Open(folder.Path).Dispose());
        Assert.Equal(folder[Two], e.File);
    }

    [Theory]
    [InlineData("diffusion_pytorch_model.safetensors", null)]
    [InlineData("model.safetensors", null)]
    [InlineData("diffusion_pytorch_model.fp16.safetensors", "fp16")]
    [InlineData("model.fp16.safetensors", "fp16")]
    public void The_weights_of_a_folder_are_found_under_their_usual_names(string name, string? variant)
    {
        using var folder = new TemporaryFolder();
        folder.Write("other.safetensors", "");
        SafetensorsWriter.Write(folder[name], [Tensor("a", 1)]);
        using var checkpoint = Checkpoint.Open(folder.Path, variant);
        Assert.Equal(folder[name], checkpoint.Path);
        Assert.Equal(1, Read(checkpoint, "a"));
    }

    [Theory]
    [InlineData("model.safetensors.index.fp16.json")]
    [InlineData("model.fp16.safetensors.index.json")]
    [InlineData("diffusion_pytorch_model.safetensors.index.fp16.json")]
    public void Shards_of_a_variant_are_found(string index)
    {
        using var folder = new TemporaryFolder();
        SafetensorsWriter.Write(folder["model.fp16-00001-of-00001.safetensors"], [Tensor("a", 1)]);
        folder.Write(index, """{"metadata":{"total_size":4},"weight_map":{"a":"model.fp16-00001-of-00001.safetensors"}}""");
        using var checkpoint = Checkpoint.Open(folder.Path, "fp16");
        Assert.Equal(folder[index], checkpoint.Path);
        Assert.Equal(1, Read(checkpoint, "a"));
    }

    [Fact]
    public void A_folder_without_weights_says_what_was_expected_and_what_is_there()
    {
        using var folder = new TemporaryFolder();
        Assert.Contains("expected diffusion_pytorch_model.safetensors or model.safetensors", Message(null), StringComparison.Ordinal);
        folder.Write("weights.safetensors", "");
        Assert.Contains("found weights.safetensors", Message(null), StringComparison.Ordinal);
        Assert.Contains("variant 'fp16'", Message("fp16"), StringComparison.Ordinal);

        string Message(string? variant) => Assert.Throws<ModelFileException>(() => Checkpoint.Open(folder.Path, variant).Dispose()).Message;
    }

    [Fact]
    public void A_failed_open_leaves_no_file_open()
    {
        using var folder = Shards($$"""{"a":"{{One}}","z":"{{Two}}"}""");
        Assert.Throws<ModelFileException>(() => Checkpoint.Open(folder.Path).Dispose());
        if (!Directory.Exists("/proc/self/fd")) return;
        Assert.DoesNotContain(Directory.GetFiles("/proc/self/fd").Select(f => new FileInfo(f).LinkTarget), target => target?.StartsWith(folder.Path, StringComparison.Ordinal) == true);
    }

    private static TemporaryFolder Shards(string map, string alsoInFirst = "a")
    {
        var folder = new TemporaryFolder();
        SafetensorsWriter.Write(folder[One], alsoInFirst == "a" ? [Tensor("a", 1)] : [Tensor("a", 1), Tensor(alsoInFirst, 9)]);
        SafetensorsWriter.Write(folder[Two], [Tensor("b", 2), Tensor("c", 3)]);
        folder.Write("model.safetensors.index.json", $$"""{"metadata":{},"weight_map":{{map}}}""");
        return folder;
    }

    private static TensorData Tensor(string name, int value) => new(name, StorageType.I32, [1], BitConverter.GetBytes(value));

    private static int Read(Checkpoint checkpoint, string name)
    {
        var bytes = new byte[4];
        checkpoint.Read(name, bytes);
        return BitConverter.ToInt32(bytes);
    }
}
