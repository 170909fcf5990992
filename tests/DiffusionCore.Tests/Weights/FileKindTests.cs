using System.Text;
using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Tests.Weights;

/// <summary>Files that are not safetensors, renamed: the error says what they are.</summary>
public class FileKindTests
{
    private static readonly Dictionary<string, (byte[] Bytes, string Part)> Kinds = new()
    {
        ["PyTorch zip"] = ([.. "PK\u0003\u0004"u8, .. new byte[26], .. "archive/data.pkl"u8], "save_file"),
        ["pickle, protocol 2"] = ([0x80, 0x02, 0x8A, 0x0A, 0x6C, 0xFC, 0x9C, 0x46, 0xF9, 0x20, 0x6A, 0xA8, 0x50, 0x19, 0x2E], "is a Python pickle"),
        ["pickle, protocol 4"] = ([0x80, 0x04, 0x95, 0x05, 0, 0, 0, 0, 0, 0, 0, (byte)'}', (byte)'.'], "is a Python pickle"),
        ["GGUF"] = ([.. "GGUF"u8, 3, 0, 0, 0, .. new byte[16]], "is a GGUF file"),
        ["Git LFS pointer"] = ("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"u8.ToArray(), "git lfs pull"),
        ["web page"] = ("<!DOCTYPE html>\n<html><body>Not found</body></html>"u8.ToArray(), "is a web page"),
        ["web page with a byte order mark"] = ([0xEF, 0xBB, 0xBF, .. "\n <HTML>\n"u8], "is a web page"),
        ["XML error"] = ("<Error><Code>AccessDenied</Code></Error>"u8.ToArray(), "is a web page"),
        ["PNG"] = ([0x89, .. "PNG\r\n\u001a\n"u8, .. new byte[20]], "is an image"),
        ["JPEG"] = ([0xFF, 0xD8, 0xFF, 0xE0, .. new byte[20]], "is an image"),
        ["gzip"] = ([0x1F, 0x8B, 8, 0, .. new byte[20]], "is a gzip archive"),
        ["HDF5"] = ([0x89, .. "HDF\r\n\u001a\n"u8, .. new byte[20]], "is an HDF5 file"),
        ["tar"] = ([.. "version"u8, .. new byte[250], .. "ustar"u8, .. new byte[200]], "is a tar archive"),
        ["NumPy"] = ([0x93, .. "NUMPY"u8, 1, 0, 0x46, 0, .. new byte[20]], "is a NumPy array"),
        ["empty"] = ([], "is empty"),
        ["JSON"] = ("""{"error":"Repository not found"}"""u8.ToArray(), "it is not a safetensors file"),
        ["text"] = ("Access to model is restricted."u8.ToArray(), "it is not a safetensors file"),
    };

    public static TheoryData<string> Names() => [.. Kinds.Keys];

    [Theory]
    [MemberData(nameof(Names))]
    public void A_file_of_another_kind_is_called_what_it_is(string name)
    {
        var (bytes, part) = Kinds[name];
        using var folder = new TemporaryFolder();
        string path = folder.Write("model.safetensors", bytes);
        var e = Assert.Throws<ModelFileException>(() => Checkpoint.Open(path).Dispose());
        Assert.Equal(path, e.File);
        Assert.Contains(part, e.Message, StringComparison.Ordinal);
    }

    /// <summary>The length of a header is any number; some of them begin as other files do.</summary>
    [Theory]
    [InlineData(0x0280)]
    [InlineData(0x0480)]
    [InlineData(0x8B1F)]
    [InlineData(0x213C)]
    public void A_sound_file_whose_length_begins_like_another_kind_is_read(int n)
    {
        string header = "{" + RawFile.Entry("\"a\"") + "}";
        using var folder = new TemporaryFolder();
        foreach (string padded in new[] { header.PadRight(n), " \n" + header.PadRight(n - 2) })
        {
            using var file = SafetensorsFile.Open(folder.Write("a.safetensors", RawFile.Of(Encoding.UTF8.GetBytes(padded), new byte[4])));
            Assert.Single(file.Tensors);
        }
    }

    [Fact]
    public void A_folder_with_a_pickle_alone_says_how_to_convert_it()
    {
        using var folder = new TemporaryFolder();
        folder.Write("pytorch_model.bin", Kinds["PyTorch zip"].Bytes);
        var e = Assert.Throws<ModelFileException>(() => Checkpoint.Open(folder.Path).Dispose());
        Assert.Equal(folder["pytorch_model.bin"], e.File);
        Assert.Contains("save_file", e.Message, StringComparison.Ordinal);
    }
}
