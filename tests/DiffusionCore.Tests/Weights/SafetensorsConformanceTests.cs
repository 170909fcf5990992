using System.Text;
using System.Text.Json;
using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Tests.Weights;

/// <summary>Files that the peer wrote, or accepts, or refuses.</summary>
[Trait("Category", "Conformance")]
public class SafetensorsConformanceTests
{
    public static TheoryData<string> Cases(string direction)
    {
        var names = new TheoryData<string>();
        if (ConformanceData.Folder is null)
        {
            names.Add("none");
            return names;
        }

        using var document = Read();
        foreach (var c in document.RootElement.GetProperty("cases").EnumerateArray())
            if (direction == "read" || c.GetProperty("direction").GetString() == direction) names.Add(c.GetProperty("name").GetString()!);
        return names;
    }

    [ConformanceTheory]
    [MemberData(nameof(Cases), "read")]
    public void A_file_is_read_or_refused_as_by_the_peer(string name)
    {
        var (c, bytes) = Case(name);
        using var folder = new TemporaryFolder();
        string path = folder.Write("case.safetensors", bytes);
        if (c.GetProperty("expect").GetString() == "error")
        {
            var e = Assert.Throws<ModelFileException>(() => SafetensorsFile.Open(path).Dispose());
            Assert.Equal(path, e.File);
            Assert.Contains(Hint(c.GetProperty("error").GetString()!), e.Message, StringComparison.Ordinal);
            return;
        }

        // What the header says is taken from the file itself with another parser.
        using var header = JsonDocument.Parse(bytes.AsMemory(8, (int)BitConverter.ToUInt64(bytes)));
        long data = 8 + BitConverter.ToInt64(bytes);
        using var file = SafetensorsFile.Open(path);
        int tensors = 0;
        foreach (var p in header.RootElement.EnumerateObject())
        {
            if (p.Name == "__metadata__")
            {
                Assert.Equal(p.Value.EnumerateObject().ToDictionary(m => m.Name, m => m.Value.GetString()), file.Metadata.ToDictionary(m => m.Key, m => (string?)m.Value));
                continue;
            }

            tensors++;
            var entry = file.Tensors[p.Name];
            long[] offsets = Numbers(p.Value, "data_offsets");
            Assert.Equal(p.Value.GetProperty("dtype").GetString(), entry.Type.FileName());
            Assert.Equal(Numbers(p.Value, "shape"), entry.Dims);
            Assert.Equal(data + offsets[0], entry.Offset);
            Assert.Equal(offsets[1] - offsets[0], entry.Bytes);
            var got = new byte[entry.Bytes];
            file.Read(entry, got);
            Assert.Equal(bytes[(int)entry.Offset..(int)(entry.Offset + entry.Bytes)], got);
        }

        Assert.Equal(tensors, file.Tensors.Count);
    }

    [ConformanceTheory]
    [MemberData(nameof(Cases), "write_and_read")]
    public void A_file_is_written_as_by_the_peer(string name)
    {
        var (c, bytes) = Case(name);
        int data = 8 + (int)BitConverter.ToInt64(bytes);
        var tensors = new List<TensorData>();
        Dictionary<string, string>? metadata = null;
        foreach (var p in c.GetProperty("header").EnumerateObject())
        {
            if (p.Name == "__metadata__")
            {
                metadata = p.Value.EnumerateObject().ToDictionary(m => m.Name, m => m.Value.GetString()!);
                continue;
            }

            long[] offsets = Numbers(p.Value, "data_offsets");
            var type = Enum.GetValues<StorageType>().Single(t => t.FileName() == p.Value.GetProperty("dtype").GetString());
            tensors.Add(new(p.Name, type, Numbers(p.Value, "shape"), bytes.AsMemory(data + (int)offsets[0], (int)(offsets[1] - offsets[0]))));
        }

        using var folder = new TemporaryFolder();
        SafetensorsWriter.Write(folder["case.safetensors"], tensors, metadata);
        Assert.Equal(bytes, File.ReadAllBytes(folder["case.safetensors"]));
    }

    // A word of the message that tells this kind of error from the others.
    private static string Hint(string kind) => kind switch
    {
        "HeaderTooLarge" => "at most 100000000 bytes of JSON",
        "HeaderTooSmall" => "case.safetensors: ",
        "InvalidHeaderLength" => "announces",
        "InvalidHeader" => "UTF-8",
        "InvalidHeaderDeserialization" => "case.safetensors: ",
        "MetadataIncompleteBuffer" => "bytes of data",
        "TensorInvalidInfo" => "needs",
        "ValidationOverflow" => "shape",
        "InvalidOffset" => "begin",
        _ => throw new ArgumentException(kind),
    };

    private static long[] Numbers(JsonElement e, string name) => [.. e.GetProperty(name).EnumerateArray().Select(v => v.GetInt64())];

    private static (JsonElement Case, byte[] Bytes) Case(string name)
    {
        using var document = Read();
        var c = document.RootElement.GetProperty("cases").EnumerateArray().Single(c => c.GetProperty("name").GetString() == name).Clone();
        return (c, c.GetProperty("bytes_base64").GetBytesFromBase64());
    }

    private static JsonDocument Read() => JsonDocument.Parse(File.ReadAllBytes(ConformanceData.PathOf("safetensors", "cases.json")));
}
