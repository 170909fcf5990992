using System.Buffers.Binary;
using System.Text;

namespace DiffusionCore.Tests.Weights;

/// <summary>A folder for the files of one test; goes with it.</summary>
internal sealed class TemporaryFolder : IDisposable
{
    public TemporaryFolder() => Path = Directory.CreateTempSubdirectory("dcore-test-").FullName;

    public string Path { get; }

    public string this[string name] => System.IO.Path.Combine(Path, name);

    public string Write(string name, ReadOnlySpan<byte> bytes)
    {
        string path = this[name];
        Directory.CreateDirectory(System.IO.Path.GetDirectoryName(path)!);
        File.WriteAllBytes(path, bytes);
        return path;
    }

    public string Write(string name, string text) => Write(name, Encoding.UTF8.GetBytes(text));

    public void Dispose() => Directory.Delete(Path, recursive: true);
}

/// <summary>Safetensors files put together by hand, sound or not.</summary>
internal static class RawFile
{
    /// <summary>The prefix announces what follows; then the header as given and zeros as data.</summary>
    public static byte[] Of(string header, int dataBytes) => Of(Encoding.UTF8.GetBytes(header), new byte[dataBytes]);

    public static byte[] Of(ReadOnlySpan<byte> header, ReadOnlySpan<byte> data) => [.. Prefix((ulong)header.Length), .. header, .. data];

    public static byte[] Prefix(ulong n)
    {
        var prefix = new byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(prefix, n);
        return prefix;
    }

    public static string Entry(string name, string dtype = "F32", string shape = "[1]", string offsets = "[0,4]") =>
        $$"""{{name}}:{"dtype":"{{dtype}}","shape":{{shape}},"data_offsets":{{offsets}}}""";
}
