using System.Runtime.InteropServices;
using System.Text;
using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Tests.Weights;

public class SafetensorsFileTests
{
    [Fact]
    public void A_misaligned_tensor_loads()
    {
        float[] values = [1, -2.5f, 3e-20f];
        byte[] data = [7, .. MemoryMarshal.AsBytes(values.AsSpan())];
        string header = "{" + RawFile.Entry("\"b\"", "U8", "[1]", "[0,1]") + "," + RawFile.Entry("\"w\"", "F32", "[3]", "[1,13]") + "}";
        if ((8 + header.Length) % 4 != 0) header += new string(' ', 4 - (8 + header.Length) % 4);
        using var folder = new TemporaryFolder();
        using var checkpoint = Checkpoint.Open(folder.Write("model.safetensors", RawFile.Of(Encoding.UTF8.GetBytes(header), data)));
        Assert.True(checkpoint.TryGet("w", out var entry));
        Assert.Equal(1, entry.Offset % 4);

        var got = new float[3];
        WeightScope.Of(checkpoint, "net").Tensor("w", new Shape(3)).Read(MemoryMarshal.AsBytes(got.AsSpan()));
        Assert.Equal(values, got);
    }

    [Fact]
    public void Space_around_the_header_and_unknown_fields_are_accepted()
    {
        string header = " \t\r\n{ \"__metadata__\" : { } , \"a\" : { \"note\" : [ { \"dtype\" : 1 } , null ] , \"data_offsets\" : [ 0 , 4 ] , \"shape\" : [ ] , \"dtype\" : \"F32\" } }\n  ";
        using var folder = new TemporaryFolder();
        using var file = SafetensorsFile.Open(folder.Write("a.safetensors", RawFile.Of(header, 4)));
        Assert.Empty(file.Metadata);
        Assert.Empty(file.Tensors["a"].Dims);
        Assert.Equal(4, file.Tensors["a"].Bytes);
    }

    [Fact]
    public void Unknown_fields_may_be_as_deep_as_the_reference_reads()
    {
        string deep = new string('[', 100) + new string(']', 100);
        using var folder = new TemporaryFolder();
        using var file = SafetensorsFile.Open(folder.Write("a.safetensors", RawFile.Of("{\"a\":{\"x\":" + deep + ",\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0)));
        Assert.Single(file.Tensors);
    }

    [Fact]
    public void Tensors_come_in_the_order_of_the_data()
    {
        string header = "{" + RawFile.Entry("\"z\"", offsets: "[4,8]") + "," + RawFile.Entry("\"e\"", shape: "[3,0]", offsets: "[4,4]") + "," + RawFile.Entry("\"m\"") + "}";
        using var folder = new TemporaryFolder();
        using var file = SafetensorsFile.Open(folder.Write("a.safetensors", RawFile.Of(header, 8)));
        Assert.Equal(["m", "e", "z"], file.Tensors.Values.Select(t => t.Name));
    }

    [Theory]
    [InlineData("[0]", "F32")]
    [InlineData("[9223372036854775807,0,9223372036854775807,9223372036854775807]", "F64")]
    [InlineData("[0,0,0,0,0,0,0,0]", "F4")]
    public void A_zero_extent_makes_an_empty_tensor_whatever_the_others_are(string shape, string dtype)
    {
        using var folder = new TemporaryFolder();
        using var file = SafetensorsFile.Open(folder.Write("a.safetensors", RawFile.Of("{" + RawFile.Entry("\"a\"", dtype, shape, "[0,0]") + "}", 0)));
        Assert.Equal(0, file.Tensors["a"].Bytes);
        file.Read(file.Tensors["a"], []);
    }

    public static TheoryData<string, int, int> Types() => new()
    {
        { "BOOL", 4, 4 }, { "F4", 4, 2 }, { "F6_E2M3", 4, 3 }, { "F6_E3M2", 4, 3 }, { "U8", 4, 4 }, { "I8", 4, 4 }, { "F8_E5M2", 4, 4 }, { "F8_E4M3", 4, 4 },
        { "F8_E8M0", 4, 4 }, { "F8_E4M3FNUZ", 4, 4 }, { "F8_E5M2FNUZ", 4, 4 }, { "I16", 4, 8 }, { "U16", 4, 8 }, { "F16", 4, 8 }, { "BF16", 4, 8 }, { "I32", 4, 16 },
        { "U32", 4, 16 }, { "F32", 4, 16 }, { "C64", 4, 32 }, { "F64", 4, 32 }, { "I64", 4, 32 }, { "U64", 4, 32 },
    };

    [Theory]
    [MemberData(nameof(Types))]
    public void Every_type_of_the_format_is_recognised_and_one_that_is_not_computed_with_is_named(string dtype, int count, int bytes)
    {
        using var folder = new TemporaryFolder();
        using var checkpoint = Checkpoint.Open(folder.Write("a.safetensors", RawFile.Of("{" + RawFile.Entry("\"a\"", dtype, $"[{count}]", $"[0,{bytes}]") + "}", bytes)));
        Assert.True(checkpoint.TryGet("a", out var entry));
        Assert.Equal(dtype, entry.Type.FileName());
        Assert.Equal(bytes, entry.Bytes);
        if (entry.Type.ToDType() is { } type) Assert.Equal(entry.Type, StorageTypes.FromDType(type));

        var scope = WeightScope.Of(checkpoint, "net");
        if (dtype is "F16" or "BF16" or "F32" or "F64")
        {
            Assert.Equal(bytes / count, scope.Tensor("a", new Shape(count)).Type.DType.Size());
            return;
        }

        var e = Assert.Throws<ModelFileException>(() => scope.Tensor("a", new Shape(count)));
        Assert.Equal("net.a", e.Item);
        Assert.Contains($"is stored as {dtype}", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Every_storage_type_is_in_the_test_above() =>
        Assert.Equal(Enum.GetValues<StorageType>().Select(t => t.FileName()).Order(StringComparer.Ordinal), Types().Select(row => (string)row[0]).Order(StringComparer.Ordinal));

    [Fact]
    public void A_file_that_is_cut_while_open_is_an_error_and_not_a_crash()
    {
        using var folder = new TemporaryFolder();
        string path = folder.Write("a.safetensors", SafetensorsWriter.ToArray([new("a", StorageType.U8, [100_000], new byte[100_000]), new("b", StorageType.U8, [10], new byte[10])]));
        using var file = SafetensorsFile.Open(path);
        using (var writer = new FileStream(path, FileMode.Open, FileAccess.Write, FileShare.ReadWrite)) writer.SetLength(50_000);
        foreach (string name in new[] { "a", "b" })
        {
            var e = Assert.Throws<ModelFileException>(() => file.Read(file.Tensors[name], new byte[file.Tensors[name].Bytes]));
            Assert.Equal(name, e.Item);
            Assert.Contains("truncated while open", e.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void A_file_that_is_written_to_while_open_is_an_error()
    {
        using var folder = new TemporaryFolder();
        SafetensorsWriter.Write(folder["a.safetensors"], [new("a", StorageType.U8, [4], new byte[] { 1, 2, 3, 4 })]);
        using var file = SafetensorsFile.Open(folder["a.safetensors"]);
        var bytes = new byte[4];
        file.Read(file.Tensors["a"], bytes);
        using (var other = new FileStream(folder["a.safetensors"], FileMode.Open, FileAccess.Write, FileShare.ReadWrite))
        {
            other.Seek(-1, SeekOrigin.End);
            other.WriteByte(9);
        }

        File.SetLastWriteTimeUtc(folder["a.safetensors"], DateTime.UtcNow.AddSeconds(1));       // a file system's clock may be coarse
        Assert.Contains("a: was written to while it was open", Assert.Throws<ModelFileException>(() => file.Read(file.Tensors["a"], bytes)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_file_that_is_replaced_while_open_stays_the_one_that_was_opened()
    {
        using var folder = new TemporaryFolder();
        SafetensorsWriter.Write(folder["a.safetensors"], [new("a", StorageType.U8, [1], new byte[] { 1 })]);
        using var file = SafetensorsFile.Open(folder["a.safetensors"]);
        SafetensorsWriter.Write(folder["a.safetensors"], [new("a", StorageType.U8, [1], new byte[] { 2 })], null, overwrite: true);
        var bytes = new byte[1];
        file.Read(file.Tensors["a"], bytes);
        Assert.Equal(1, bytes[0]);
    }

    [Fact]
    public void Threads_read_at_the_same_time()
    {
        var random = new Random(5);
        var tensors = Enumerable.Range(0, 64).Select(i => new TensorData($"t{i:d2}", StorageType.U8, [1 + i * 997], Bytes(random, 1 + i * 997))).ToArray();
        using var folder = new TemporaryFolder();
        SafetensorsWriter.Write(folder["a.safetensors"], tensors);
        using var file = SafetensorsFile.Open(folder["a.safetensors"]);
        Parallel.For(0, 512, new ParallelOptions { MaxDegreeOfParallelism = 4 }, i =>
        {
            var want = tensors[i * 37 % 64];
            var got = new byte[want.Data.Length];
            file.Read(file.Tensors[want.Name], got);
            Assert.True(want.Data.Span.SequenceEqual(got), want.Name);
        });
    }

    [Fact]
    public void A_part_of_a_tensor_is_read_and_one_outside_it_is_not()
    {
        using var folder = new TemporaryFolder();
        SafetensorsWriter.Write(folder["a.safetensors"], [new("a", StorageType.U8, [5], new byte[] { 0, 1, 2, 3, 4 }), new("b", StorageType.U8, [5], new byte[] { 5, 6, 7, 8, 9 })]);
        using var file = SafetensorsFile.Open(folder["a.safetensors"]);
        var got = new byte[2];
        file.ReadPart(file.Tensors["b"], 3, got);
        Assert.Equal([8, 9], got);
        Assert.Throws<ArgumentOutOfRangeException>(() => file.ReadPart(file.Tensors["a"], 4, got));
        Assert.Throws<ArgumentOutOfRangeException>(() => file.ReadPart(file.Tensors["a"], -1, got));
        Assert.Throws<ArgumentException>(() => file.Read(file.Tensors["a"], got));
    }

    [Fact]
    public void A_large_header_that_the_file_does_not_hold_is_not_allocated()
    {
        using var folder = new TemporaryFolder();
        string path = folder.Write("a.safetensors", [.. RawFile.Prefix(99_999_999), .. new byte[1000]]);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Assert.Throws<ModelFileException>(() => SafetensorsFile.Open(path).Dispose());
        Assert.True(GC.GetAllocatedBytesForCurrentThread() - before < 100_000);
    }

    private static byte[] Bytes(Random random, int count)
    {
        var bytes = new byte[count];
        random.NextBytes(bytes);
        return bytes;
    }
}
