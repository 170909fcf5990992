using System.Text;
using CsCheck;
using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Tests.Weights;

public class SafetensorsWriterTests
{
    [Fact]
    public void Tensors_are_ordered_by_type_then_by_name_and_the_header_is_padded_to_eight()
    {
        byte[] bytes = SafetensorsWriter.ToArray(
        [
            new("b", StorageType.U8, [1], new byte[] { 1 }),
            new("z", StorageType.F32, [1], new byte[] { 2, 0, 0, 0 }),
            new("a", StorageType.F32, [1], new byte[] { 3, 0, 0, 0 }),
            new("h", StorageType.F16, [1], new byte[] { 4, 0 }),
            new("l", StorageType.I64, [1], new byte[] { 5, 0, 0, 0, 0, 0, 0, 0 }),
        ]);
        const string Header =
            """{"l":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[1],"data_offsets":[8,12]},"z":{"dtype":"F32","shape":[1],"data_offsets":[12,16]},"h":{"dtype":"F16","shape":[1],"data_offsets":[16,18]},"b":{"dtype":"U8","shape":[1],"data_offsets":[18,19]}}""";
        int padded = (Header.Length + 7) / 8 * 8;
        Assert.Equal(padded, BitConverter.ToInt64(bytes));
        Assert.Equal(Header.PadRight(padded), Encoding.UTF8.GetString(bytes, 8, padded));
        Assert.Equal([5, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 4, 0, 1], bytes[(8 + padded)..]);
    }

    // serde_json, which the format's reference writes with, escapes the quote, the backslash and control characters, and nothing else.
    [Fact]
    public void Names_are_escaped_no_more_than_JSON_asks_for()
    {
        byte[] bytes = SafetensorsWriter.ToArray([new("\"\\/\b\t\n\f\r\u0001\u001f\u007f<>&+'é中\u2028\U0001F600", StorageType.U8, [0], default)], new Dictionary<string, string> { ["ключ"] = "a\nb" });
        string header = Encoding.UTF8.GetString(bytes, 8, bytes.Length - 8).TrimEnd(' ');
        Assert.Equal("{\"__metadata__\":{\"ключ\":\"a\\nb\"},\"\\\"\\\\/\\b\\t\\n\\f\\r\\u0001\\u001f\u007f<>&+'é中\u2028\U0001F600\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", header);
    }

    [Fact]
    public void Names_are_ordered_by_their_bytes_and_not_by_UTF_16()
    {
        // U+FF5E is EF BD 9E and U+1F600 is F0 9F 98 80, but in UTF-16 FF5E is above D83D.
        byte[] bytes = SafetensorsWriter.ToArray([new("\U0001F600", StorageType.U8, [0], default), new("\uFF5E", StorageType.U8, [0], default), new("Z", StorageType.U8, [0], default), new("a", StorageType.U8, [0], default)]);
        string header = Encoding.UTF8.GetString(bytes, 8, bytes.Length - 8);
        int[] at = [.. new[] { "\"Z\"", "\"a\"", "\"\uFF5E\"", "\"\U0001F600\"" }.Select(n => header.IndexOf(n, StringComparison.Ordinal))];
        Assert.Equal(at.Order(), at);
    }

    [Fact]
    public void What_is_written_is_read_back()
    {
        var tensor = Gen.Select(Gen.String[1, 12], Gen.Enum<StorageType>(), Gen.Int[0, 5].Array[0, 5]);
        tensor.List[0, 8].Sample(list =>
        {
            // Whole bytes for the types of 4 and 6 bits, and names that JSON can hold.
            var tensors = list
                .Where(t => !t.Item1.Contains('\0') && t.Item1 != "__metadata__" && !t.Item1.Any(char.IsSurrogate))
                .DistinctBy(t => t.Item1)
                .Select(t => (Name: t.Item1, Type: t.Item2, Dims: (long[])[.. t.Item3.Select(d => (long)d), 4]))
                .Select(t => new TensorData(t.Name, t.Type, t.Dims, Data(t.Dims.Aggregate(1L, (a, d) => a * d) * t.Type.Bits() / 8)))
                .ToArray();
            using var folder = new TemporaryFolder();
            SafetensorsWriter.Write(folder["a.safetensors"], tensors);
            using var file = SafetensorsFile.Open(folder["a.safetensors"]);
            Assert.Equal(tensors.Length, file.Tensors.Count);
            foreach (var t in tensors)
            {
                var entry = file.Tensors[t.Name];
                Assert.Equal(t.Type, entry.Type);
                Assert.Equal(t.Dims, entry.Dims);
                var got = new byte[entry.Bytes];
                file.Read(entry, got);
                Assert.Equal(t.Data.ToArray(), got);
            }
        }, iter: 200, threads: 1);

        static byte[] Data(long count) => [.. Enumerable.Range(0, (int)count).Select(i => (byte)(i * 31 + 7))];
    }

    public static TheoryData<string, StorageType, long[], int> Wrong() => new()
    {
        { "", StorageType.U8, [1], 1 },
        { "__metadata__", StorageType.U8, [1], 1 },
        { "a\0", StorageType.U8, [1], 1 },
        { "a", StorageType.U8, [2], 1 },
        { "a", StorageType.F32, [2], 7 },
        { "a", StorageType.F4, [3], 1 },
        { "a", StorageType.F4, [3], 2 },
        { "a", StorageType.U8, [-1], 0 },
        { "a", StorageType.U8, [-1, -1], 1 },
        { "a", StorageType.U8, [4294967296, 4294967296], 0 },
    };

    [Theory]
    [MemberData(nameof(Wrong))]
    public void What_would_make_a_bad_file_is_not_written(string name, StorageType type, long[] dims, int bytes)
    {
        using var folder = new TemporaryFolder();
        Assert.ThrowsAny<ArgumentException>(() => SafetensorsWriter.Write(folder["a.safetensors"], [new(name, type, dims, new byte[bytes])]));
        Assert.Empty(Directory.GetFileSystemEntries(folder.Path));
    }

    [Fact]
    public void Half_a_surrogate_pair_is_not_written()
    {
        Assert.ThrowsAny<ArgumentException>(() => SafetensorsWriter.ToArray([new("a\ud800", StorageType.U8, [0], default)]));
        Assert.ThrowsAny<ArgumentException>(() => SafetensorsWriter.ToArray([], new Dictionary<string, string> { ["k"] = "\ud800" }));
    }

    [Fact]
    public void A_name_given_twice_is_not_written()
    {
        using var folder = new TemporaryFolder();
        TensorData a = new("a", StorageType.U8, [1], new byte[1]), b = new("a", StorageType.F16, [1], new byte[2]);
        Assert.Throws<ArgumentException>(() => SafetensorsWriter.Write(folder["a.safetensors"], [a, b]));
        Assert.Empty(Directory.GetFileSystemEntries(folder.Path));
    }

    [Fact]
    public void An_existing_file_is_replaced_only_when_asked()
    {
        using var folder = new TemporaryFolder();
        string path = folder.Write("a.safetensors", "before");
        var e = Assert.Throws<FileException>(() => SafetensorsWriter.Write(path, []));
        Assert.Contains("exists already", e.Message, StringComparison.Ordinal);
        Assert.Equal("before", File.ReadAllText(path));
        SafetensorsWriter.Write(path, [], overwrite: true);
        Assert.Equal(16, new FileInfo(path).Length);
        Assert.Single(Directory.GetFileSystemEntries(folder.Path));
    }
}
