using System.Text;
using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Tests.Weights;

/// <summary>Every way in which a safetensors file can be bad: one line that names the file, the tensor and what is wrong.</summary>
public class BadSafetensorsTests
{
    private const string A = "\"a\"";

    // Name of the case, the bytes, the item that the error names (null: the file), a part of the message.
    private static readonly Dictionary<string, (byte[] Bytes, string? Item, string Part)> Cases = new()
    {
        ["empty file"] = ([], null, "is empty"),
        ["7 bytes"] = ([8, 0, 0, 0, 0, 0, 0], null, "found only 7 bytes"),
        ["n = 0"] = (RawFile.Prefix(0), "header", "not the JSON"),
        ["n = 2^64-1"] = ([.. RawFile.Prefix(ulong.MaxValue), .. "{}"u8], "header", "announces 18446744073709551615"),
        ["n = 2^63"] = ([.. RawFile.Prefix(1ul << 63), .. "{}"u8], "header", "announces 9223372036854775808"),
        ["n = 100,000,001"] = ([.. RawFile.Prefix(100_000_001), .. "{}"u8], "header", "at most 100000000"),
        ["n = 100,000,000 in a small file"] = ([.. RawFile.Prefix(100_000_000), .. "{}"u8], "header", "the file is truncated"),
        ["n is one past the file"] = ([.. RawFile.Prefix(3), .. "{}"u8], "header", "announces 3 bytes of JSON, the file has 2"),
        ["invalid UTF-8"] = (RawFile.Of([(byte)'{', (byte)'"', 0xC3, 0x28, (byte)'"', (byte)':', (byte)'1', (byte)'}'], []), "header", "not valid UTF-8 at byte 2"),
        ["UTF-8 of a surrogate"] = (RawFile.Of([(byte)'{', (byte)'"', 0xED, 0xA0, 0x80, (byte)'"', (byte)'}'], []), "header", "not valid UTF-8"),
        ["overlong UTF-8"] = (RawFile.Of([(byte)'{', (byte)'"', 0xC0, 0xAF, (byte)'"', (byte)'}'], []), "header", "not valid UTF-8"),
        ["byte order mark"] = (RawFile.Of([0xEF, 0xBB, 0xBF, .. "{}"u8], []), "header", "not the JSON"),
        ["trailing NUL pad"] = (RawFile.Of("{}\0\0\0\0\0\0", 0), "header", "not the JSON"),
        ["array root"] = (RawFile.Of("[]", 0), "header", "expected a JSON object"),
        ["string root"] = (RawFile.Of("\"a\"", 0), "header", "expected a JSON object"),
        ["truncated JSON"] = (RawFile.Of("{" + RawFile.Entry(A)[..20], 4), "header", "not the JSON"),
        ["unclosed root"] = (RawFile.Of("{" + RawFile.Entry(A), 4), "header", "not the JSON"),
        ["trailing junk"] = (RawFile.Of("{}x", 0), "header", "not the JSON"),
        ["second root"] = (RawFile.Of("{}{}", 0), "header", "not the JSON"),
        ["trailing comma"] = (RawFile.Of("{" + RawFile.Entry(A) + ",}", 4), "header", "not the JSON"),
        ["comment"] = (RawFile.Of("{/**/}", 0), "header", "not the JSON"),
        ["single quotes"] = (RawFile.Of("{'a':1}", 0), "header", "not the JSON"),
        ["duplicate names"] = (RawFile.Of("{" + RawFile.Entry(A) + "," + RawFile.Entry(A, offsets: "[4,8]") + "}", 8), "a", "listed twice"),
        ["duplicate names, one escaped"] = (RawFile.Of("{" + RawFile.Entry(A) + "," + RawFile.Entry("\"\\u0061\"", offsets: "[4,8]") + "}", 8), "a", "listed twice"),
        ["duplicate metadata"] = (RawFile.Of("{\"__metadata__\":{},\"__metadata__\":{}}", 0), "__metadata__", "listed twice"),
        ["duplicate metadata key"] = (RawFile.Of("{\"__metadata__\":{\"k\":\"1\",\"k\":\"2\"}}", 0), "__metadata__.k", "given twice"),
        ["duplicate inner key"] = (RawFile.Of("{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4), "a", "field 'dtype' is given twice"),
        ["duplicate unknown inner key"] = (RawFile.Of("{\"a\":{\"x\":1,\"x\":1,\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4), "a", "field 'x' is given twice"),
        ["hole"] = (RawFile.Of("{" + RawFile.Entry(A) + "," + RawFile.Entry("\"b\"", offsets: "[5,9]") + "}", 9), "b", "begins at 5, expected 4: a hole"),
        ["hole at the start"] = (RawFile.Of("{" + RawFile.Entry(A, offsets: "[4,8]") + "}", 8), "a", "begins at 4, expected 0: a hole"),
        ["overlap"] = (RawFile.Of("{" + RawFile.Entry(A) + "," + RawFile.Entry("\"b\"", offsets: "[3,7]") + "}", 7), "b", "an overlap"),
        ["same range twice"] = (RawFile.Of("{" + RawFile.Entry(A) + "," + RawFile.Entry("\"b\"") + "}", 4), "b", "an overlap"),
        ["empty tensor inside another"] = (RawFile.Of("{" + RawFile.Entry(A) + "," + RawFile.Entry("\"b\"", shape: "[0]", offsets: "[2,2]") + "}", 4), "b", "an overlap"),
        ["trailing byte"] = (RawFile.Of("{" + RawFile.Entry(A) + "}", 5), null, "has 5 bytes of data, its tensors cover 4"),
        ["trailing bytes without tensors"] = (RawFile.Of("{}", 3), null, "has 3 bytes of data, its tensors cover 0"),
        ["missing byte"] = (RawFile.Of("{" + RawFile.Entry(A) + "}", 3), "a", "the file is truncated"),
        ["no data at all"] = (RawFile.Of("{" + RawFile.Entry(A) + "}", 0), "a", "the file is truncated"),
        ["shape x dtype != range"] = (RawFile.Of("{" + RawFile.Entry(A, shape: "[2]") + "}", 4), "a", "needs 8 bytes, data_offsets give 4"),
        ["shape wraps to 0 in 64 bits"] = (RawFile.Of("{" + RawFile.Entry(A, shape: "[4294967296,4294967296]", offsets: "[0,0]") + "}", 0), "a", "larger than any file"),
        ["shape wraps to the range in 64 bits"] = (RawFile.Of("{" + RawFile.Entry(A, "U8", "[3,6148914691236517206]", "[0,2]") + "}", 2), "a", "larger than any file"),
        // The product is 2^125 + 4242033433851267910: in bits, 2^128 and the range that the offsets give.
        ["shape wraps in 128 bits"] = (RawFile.Of("{" + RawFile.Entry(A, "U8", "[6521908912666391107,6521908912666391106]", "[0,4242033433851267910]") + "}", 8), "a", "larger than any file"),
        ["shape of rank 20 that wraps"] = (RawFile.Of("{" + RawFile.Entry(A, "U8", "[" + string.Join(",", Enumerable.Repeat("4294967296", 20)) + "]", "[0,0]") + "}", 0), "a", "larger than any file"),
        ["range beyond any file"] = (RawFile.Of("{" + RawFile.Entry(A, "U8", "[9223372036854775807]", "[0,9223372036854775807]") + "}", 8), "a", "the file is truncated"),
        ["negative dim"] = (RawFile.Of("{" + RawFile.Entry(A, shape: "[-1]") + "}", 4), "a", "shape: expected a whole number from 0 to 2^63-1, found -1"),
        ["minus zero"] = (RawFile.Of("{" + RawFile.Entry(A, shape: "[-0]", offsets: "[0,0]") + "}", 0), "a", "found -0"),
        ["negative offset"] = (RawFile.Of("{" + RawFile.Entry(A, offsets: "[-4,0]") + "}", 4), "a", "data_offsets: expected a whole number"),
        ["dim 1.0"] = (RawFile.Of("{" + RawFile.Entry(A, shape: "[1.0]") + "}", 4), "a", "found 1.0"),
        ["dim 1e0"] = (RawFile.Of("{" + RawFile.Entry(A, shape: "[1e0]") + "}", 4), "a", "found 1e0"),
        ["dim 2^63"] = (RawFile.Of("{" + RawFile.Entry(A, shape: "[9223372036854775808]") + "}", 4), "a", "found 9223372036854775808"),
        ["dim 2^64"] = (RawFile.Of("{" + RawFile.Entry(A, shape: "[18446744073709551616]") + "}", 4), "a", "found 18446744073709551616"),
        ["dim 2^64+1"] = (RawFile.Of("{" + RawFile.Entry(A, shape: "[18446744073709551617]") + "}", 4), "a", "found 18446744073709551617"),
        ["dim \"3\""] = (RawFile.Of("{" + RawFile.Entry(A, shape: "[\"3\"]") + "}", 4), "a", "found a string"),
        ["dim null"] = (RawFile.Of("{" + RawFile.Entry(A, shape: "[null]") + "}", 4), "a", "found null"),
        ["dim with a leading zero"] = (RawFile.Of("{" + RawFile.Entry(A, shape: "[01]") + "}", 4), "header", "not the JSON"),
        ["nested shape"] = (RawFile.Of("{" + RawFile.Entry(A, shape: "[[1]]") + "}", 4), "a", "found an array"),
        ["shape is a number"] = (RawFile.Of("{" + RawFile.Entry(A, shape: "1") + "}", 4), "a", "shape: expected an array, found a number"),
        ["unknown dtype"] = (RawFile.Of("{" + RawFile.Entry(A, "F33") + "}", 4), "a", "dtype 'F33' is unknown"),
        ["lower-case dtype"] = (RawFile.Of("{" + RawFile.Entry(A, "f32") + "}", 4), "a", "dtype 'f32' is unknown"),
        ["empty dtype"] = (RawFile.Of("{" + RawFile.Entry(A, "") + "}", 4), "a", "dtype '' is unknown"),
        ["dtype is a number"] = (RawFile.Of("{\"a\":{\"dtype\":32,\"shape\":[1],\"data_offsets\":[0,4]}}", 4), "a", "dtype: expected a string, found a number"),
        ["missing dtype"] = (RawFile.Of("{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4), "a", "has no dtype"),
        ["missing shape"] = (RawFile.Of("{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4), "a", "has no shape"),
        ["missing offsets"] = (RawFile.Of("{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4), "a", "has no data_offsets"),
        ["empty entry"] = (RawFile.Of("{\"a\":{}}", 0), "a", "has no dtype"),
        ["entry is null"] = (RawFile.Of("{\"a\":null}", 0), "a", "found null"),
        ["entry is an array"] = (RawFile.Of("{\"a\":[]}", 0), "a", "found an array"),
        ["3 offsets"] = (RawFile.Of("{" + RawFile.Entry(A, offsets: "[0,4,8]") + "}", 4), "a", "data_offsets: expected 2 numbers, found 3"),
        ["1 offset"] = (RawFile.Of("{" + RawFile.Entry(A, offsets: "[4]") + "}", 4), "a", "data_offsets: expected 2 numbers, found 1"),
        ["end < begin"] = (RawFile.Of("{" + RawFile.Entry(A, shape: "[0]", offsets: "[4,0]") + "}", 4), "a", "ends at 0 before it begins at 4"),
        ["nested metadata"] = (RawFile.Of("{\"__metadata__\":{\"k\":{\"x\":\"y\"}}}", 0), "__metadata__.k", "expected a string, found an object"),
        ["non-string metadata"] = (RawFile.Of("{\"__metadata__\":{\"k\":1}}", 0), "__metadata__.k", "expected a string, found a number"),
        ["null metadata value"] = (RawFile.Of("{\"__metadata__\":{\"k\":null}}", 0), "__metadata__.k", "found null"),
        ["metadata is a string"] = (RawFile.Of("{\"__metadata__\":\"k\"}", 0), "__metadata__", "found a string"),
        ["metadata is an entry"] = (RawFile.Of("{" + RawFile.Entry("\"__metadata__\"") + "}", 4), "__metadata__.shape", "found an array"),
        ["5000-deep arrays"] = (RawFile.Of("{\"a\":{\"x\":" + new string('[', 5000) + new string(']', 5000) + "}}", 0), "header", "not the JSON"),
        ["5000-deep objects"] = (RawFile.Of(string.Concat(Enumerable.Repeat("{\"a\":", 5000)) + "1" + new string('}', 5000), 0), "a", "has no dtype|not the JSON"),
        ["5000-deep shape"] = (RawFile.Of("{" + RawFile.Entry(A, shape: new string('[', 5000) + new string(']', 5000)) + "}", 4), "a", "found an array"),
        ["rank 100"] = (RawFile.Of("{" + RawFile.Entry(A, shape: "[" + string.Join(",", Enumerable.Repeat("1", 100)) + "]") + "}", 4), "a", "shape: more than 64 numbers"),
        ["lone high surrogate"] = (RawFile.Of("{" + RawFile.Entry("\"\\ud800\"") + "}", 4), "header", "not the JSON"),
        ["lone low surrogate"] = (RawFile.Of("{" + RawFile.Entry("\"x\\udc00y\"") + "}", 4), "header", "not the JSON"),
        ["lone surrogate in metadata"] = (RawFile.Of("{\"__metadata__\":{\"k\":\"\\ud800\"}}", 0), "header", "not the JSON"),
        ["NUL in a name"] = (RawFile.Of("{" + RawFile.Entry("\"a\\u0000b\"") + "}", 4), "a\0b", "a\\u0000b: the name has a NUL"),
        ["raw NUL in a name"] = (RawFile.Of("{" + RawFile.Entry("\"a\0b\"") + "}", 4), "header", "not the JSON"),
        ["raw line feed in a name"] = (RawFile.Of("{" + RawFile.Entry("\"a\nb\"") + "}", 4), "header", "not the JSON"),
        ["empty name"] = (RawFile.Of("{" + RawFile.Entry("\"\"") + "}", 4), "''", "a tensor without a name"),
        ["F4 with an odd count"] = (RawFile.Of("{" + RawFile.Entry(A, "F4", "[3]", "[0,2]") + "}", 2), "a", "does not fill whole bytes"),
        ["F6 with a count that leaves bits"] = (RawFile.Of("{" + RawFile.Entry(A, "F6_E2M3", "[2]", "[0,2]") + "}", 2), "a", "does not fill whole bytes"),
    };

    public static TheoryData<string> Names() => [.. Cases.Keys];

    [Theory]
    [MemberData(nameof(Names))]
    public void A_bad_file_gives_one_line_that_says_what_is_wrong(string name)
    {
        var (bytes, item, part) = Cases[name];
        using var folder = new TemporaryFolder();
        string path = folder.Write("bad.safetensors", bytes);

        // Warm code, then a bound on what is asked for: nothing in a few kilobytes of file may ask for more than its messages need.
        Assert.Throws<ModelFileException>(() => SafetensorsFile.Open(path).Dispose());
        long before = GC.GetAllocatedBytesForCurrentThread();
        var e = Assert.Throws<ModelFileException>(() => SafetensorsFile.Open(path).Dispose());
        long allocated = GC.GetAllocatedBytesForCurrentThread() - before;

        Assert.Equal(path, e.File);
        Assert.Equal(ErrorKind.Model, e.Kind);
        Assert.StartsWith(path + ": ", e.Message, StringComparison.Ordinal);
        Assert.Contains(part.Split('|'), p => e.Message.Contains(p, StringComparison.Ordinal));
        if (part.Split('|').Length == 1) Assert.Equal(item, e.Item);
        Assert.DoesNotContain(e.Message, char.IsControl);
        Assert.True(allocated < 300_000, $"{allocated} bytes allocated for a file of {bytes.Length}");
        File.Delete(path);
    }

    [Fact]
    public void A_name_with_a_line_feed_or_of_great_length_keeps_the_message_one_short_line()
    {
        using var folder = new TemporaryFolder();
        string path = folder.Write("bad.safetensors", RawFile.Of("{" + RawFile.Entry("\"a\\nb" + new string('x', 100_000) + "\"", "F33") + "}", 4));
        var e = Assert.Throws<ModelFileException>(() => SafetensorsFile.Open(path).Dispose());
        Assert.Contains("a\\nbxxx", e.Message, StringComparison.Ordinal);
        Assert.DoesNotContain(e.Message, char.IsControl);
        Assert.True(e.Message.Length < 1000);
    }

    [Fact]
    public void Every_truncation_of_a_sound_file_is_refused()
    {
        byte[] whole = SafetensorsWriter.ToArray([new("w", StorageType.F32, [2, 3], new byte[24]), new("b", StorageType.F16, [3], new byte[6])], new Dictionary<string, string> { ["format"] = "pt" });
        using var folder = new TemporaryFolder();
        for (int length = 0; length < whole.Length; length++)
        {
            string path = folder.Write("cut.safetensors", whole.AsSpan(0, length));
            Assert.Throws<ModelFileException>(() => SafetensorsFile.Open(path).Dispose());
        }

        using var file = SafetensorsFile.Open(folder.Write("whole.safetensors", whole));
        Assert.Equal(2, file.Tensors.Count);
    }

    [Fact]
    public void Every_changed_byte_of_the_header_gives_a_sound_file_or_the_named_error()
    {
        byte[] whole = SafetensorsWriter.ToArray([new("w", StorageType.F32, [2, 3], new byte[24])]);
        int header = whole.Length - 24;
        using var folder = new TemporaryFolder();
        string path = folder["changed.safetensors"];
        int refused = 0;
        foreach (byte b in (byte[])[0, (byte)'"', (byte)'{', (byte)'}', (byte)'9', (byte)'-', (byte)'\\', 0x80, 0xFF])
        {
            for (int i = 0; i < header; i++)
            {
                byte[] changed = [.. whole];
                changed[i] = b;
                File.WriteAllBytes(path, changed);
                try
                {
                    SafetensorsFile.Open(path).Dispose();
                }
                catch (ModelFileException)
                {
                    refused++;
                }
            }
        }

        Assert.True(refused > 4 * header, $"{refused} of {9 * header} were refused");
    }

    [Fact]
    public void What_cannot_be_opened_is_named()
    {
        using var folder = new TemporaryFolder();
        Assert.Contains("there is no such file", Message(folder["absent.safetensors"]), StringComparison.Ordinal);
        Assert.Contains("there is no such file", Message(folder["no/folder.safetensors"]), StringComparison.Ordinal);
        Assert.Contains("is a folder", Message(folder.Path), StringComparison.Ordinal);
        Assert.Contains("an empty file name", Message(""), StringComparison.Ordinal);
        Assert.Contains("cannot be opened", Message("a\0b"), StringComparison.Ordinal);

        static string Message(string path) => Assert.Throws<ModelFileException>(() => SafetensorsFile.Open(path).Dispose()).Message;
    }

    [Fact]
    public void The_bytes_of_a_message_come_from_the_file_only_as_text()
    {
        using var folder = new TemporaryFolder();
        string path = folder.Write("bad.safetensors", RawFile.Of("{" + RawFile.Entry("\"a\"", "\\u001b[31mred") + "}", 4));
        var e = Assert.Throws<ModelFileException>(() => SafetensorsFile.Open(path).Dispose());
        Assert.Contains("\\u001b[31mred", e.Message, StringComparison.Ordinal);
        Assert.Equal(0, Encoding.UTF8.GetBytes(e.Message).Count(b => b < 0x20));
    }
}
