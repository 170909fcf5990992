using DiffusionCore.Runtime;
using Microsoft.Win32.SafeHandles;

namespace DiffusionCore.Weights;

/// <summary>An open safetensors file. Tensors are read with positioned reads, from any thread; nothing is mapped.</summary>
public sealed class SafetensorsFile : IDisposable
{
    private readonly SafeFileHandle handle;
    private readonly DateTime written;

    private SafetensorsFile(string path, SafeFileHandle handle, DateTime written, Dictionary<string, TensorEntry> tensors, Dictionary<string, string> metadata)
    {
        Path = path;
        this.handle = handle;
        this.written = written;
        Tensors = tensors;
        Metadata = metadata;
    }

    public string Path { get; }

    /// <summary>By name, in the order of the data.</summary>
    public IReadOnlyDictionary<string, TensorEntry> Tensors { get; }

    public IReadOnlyDictionary<string, string> Metadata { get; }

    /// <exception cref="ModelFileException">The file is not a sound safetensors file.</exception>
    public static SafetensorsFile Open(string path)
    {
        SafeFileHandle handle;
        if (path.Length == 0) throw new ModelFileException("''", null, "an empty file name");
        try
        {
            // Asked before it is opened: a named pipe would wait for its other end.
            if (new FileInfo(path) is { Exists: true, Length: 0 }) throw new ModelFileException(path, null, "is empty, or is not a regular file");
            handle = File.OpenHandle(path);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new ModelFileException(path, null, Directory.Exists(path) ? "is a folder; expected a safetensors file" : "there is no such file", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            throw new ModelFileException(path, null, Directory.Exists(path) ? "is a folder; expected a safetensors file" : $"cannot be opened: {e.Message}", e);
        }

        try
        {
            var written = File.GetLastWriteTimeUtc(handle);
            long length = RandomAccess.GetLength(handle);
            var head = new byte[(int)Math.Min(length, 512)];
            Fill(path, handle, head, 0);
            long headerBytes = SafetensorsHeader.Length(path, head, length);
            var json = new byte[headerBytes];
            Fill(path, handle, json, SafetensorsHeader.PrefixBytes);
            var (tensors, metadata) = SafetensorsHeader.Parse(path, json, length);
            return new SafetensorsFile(path, handle, written, tensors, metadata);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or NotSupportedException)
        {
            handle.Dispose();
            throw new ModelFileException(path, null, $"cannot be read: {e.Message}", e);
        }
        catch
        {
            handle.Dispose();
            throw;
        }
    }

    /// <summary>Fills <paramref name="dst"/> with the tensor's bytes.</summary>
    /// <exception cref="ModelFileException">The file became shorter, or was written to, since it was opened.</exception>
    public void Read(TensorEntry entry, Span<byte> dst)
    {
        if (dst.Length != entry.Bytes) throw new ArgumentException($"{entry.Name} has {entry.Bytes} bytes, the target {dst.Length}", nameof(dst));
        ReadPart(entry, 0, dst);
    }

    /// <summary>Fills <paramref name="dst"/> with the tensor's bytes from <paramref name="start"/> on.</summary>
    /// <exception cref="ModelFileException">The file became shorter, or was written to, since it was opened.</exception>
    public void ReadPart(TensorEntry entry, long start, Span<byte> dst)
    {
        if (start < 0 || dst.Length > entry.Bytes - start) throw new ArgumentOutOfRangeException(nameof(start), start, $"{entry.Name} has {entry.Bytes} bytes, {dst.Length} from {start} are asked for");
        try
        {
            Fill(Path, handle, dst, entry.Offset + start, entry.Name);
            // Half of one file and half of another would make a picture, and a wrong one.
            if (File.GetLastWriteTimeUtc(handle) != written) throw new ModelFileException(Path, entry.Name, "was written to while it was open; load the model again");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ModelFileException(Path, entry.Name, $"cannot be read: {e.Message}", e);
        }
    }

    public void Dispose() => handle.Dispose();

    private static void Fill(string path, SafeFileHandle handle, Span<byte> dst, long offset, string? item = null)
    {
        while (dst.Length > 0)
        {
            int got = RandomAccess.Read(handle, dst, offset);
            if (got <= 0) throw new ModelFileException(path, item, $"ends at byte {offset} while {dst.Length} more were expected; the file was truncated while open");
            dst = dst[got..];
            offset += got;
        }
    }
}
