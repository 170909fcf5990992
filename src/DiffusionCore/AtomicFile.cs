using DiffusionCore.Runtime;

namespace DiffusionCore;

/// <summary>Files that are whole or absent: written beside the target, flushed to the disk, then renamed.</summary>
public static class AtomicFile
{
    private const string Prefix = ".dcore-", Suffix = ".tmp";
    private static readonly TimeSpan Stale = TimeSpan.FromDays(1);

    /// <param name="path">The target; its folder must exist.</param>
    /// <param name="overwrite">Whether an existing file may be replaced.</param>
    /// <exception cref="FileException">It exists and may not be replaced, or it cannot be written. Nothing is left behind.</exception>
    public static void Write(string path, bool overwrite, Action<Stream> write)
    {
        Check(path, overwrite);
        string full = Path.GetFullPath(path);
        string temporary = Temporary(Path.GetDirectoryName(full)!);
        bool created = false;
        try
        {
            if (IsDevice(full))
            {
                using var device = new FileStream(full, FileMode.Open, FileAccess.Write, FileShare.ReadWrite, 1 << 16);
                write(device);
                device.Flush();
                return;
            }

            using (var stream = new FileStream(temporary, FileMode.CreateNew, FileAccess.Write, FileShare.None, 1 << 16))
            {
                created = true;
                write(stream);
                stream.Flush(flushToDisk: true);
            }

            File.Move(temporary, full, overwrite);
            created = false;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            string problem = !overwrite && File.Exists(full) && !IsDevice(full) ? "exists already; give --force to replace it" : $"cannot be written: {e.Message}";
            throw new FileException(path, problem, e);
        }
        finally
        {
            if (created)
            {
                try
                {
                    File.Delete(temporary);
                }
                catch (Exception e) when (e is IOException or UnauthorizedAccessException)
                {
                    // The first error is the one to report.
                }
            }
        }
    }

    /// <summary>The checks that can be made before the work whose result is to be written.</summary>
    public static void Check(string path, bool overwrite)
    {
        if (path.Length == 0) throw new FileException("''", "an empty file name");
        string full = Path.GetFullPath(path);
        if (Directory.Exists(full)) throw new FileException(path, "is a folder; expected a file name");
        string? folder = Path.GetDirectoryName(full);
        if (folder is null || !Directory.Exists(folder)) throw new FileException(path, $"the folder '{folder}' does not exist; create it first");
        if (!overwrite && File.Exists(full) && !IsDevice(full)) throw new FileException(path, "exists already; give --force to replace it");
    }

    /// <summary>
    /// Whether files can be made in the target's folder, tried before the work whose result is to be written. Also removes what a run that was killed
    /// more than a day ago left half written there.
    /// </summary>
    /// <exception cref="FileException">They cannot: no permission, or a disk that is full or read-only.</exception>
    public static void CheckFolder(string path)
    {
        string full = Path.GetFullPath(path), folder = Path.GetDirectoryName(full)!;
        if (IsDevice(full)) return;
        try
        {
            using (var probe = new FileStream(Temporary(folder), FileMode.CreateNew, FileAccess.Write, FileShare.None, 1, FileOptions.DeleteOnClose)) probe.WriteByte(0);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new FileException(path, $"cannot be written: {e.Message}", e);
        }

        try
        {
            foreach (string file in Directory.EnumerateFiles(folder, Prefix + "*" + Suffix))
                if (DateTime.UtcNow - File.GetLastWriteTimeUtc(file) > Stale) File.Delete(file);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Another user's, or gone meanwhile: they stand in nobody's way.
        }
    }

    // Not from the process id: in a container that is the same every time, and a run that was killed would stand in the way of the next.
    // Not from the target's name: it may be as long as the file system allows.
    private static string Temporary(string folder) => Path.Combine(folder, Prefix + Path.GetRandomFileName() + Suffix);

    // A rename onto /dev/stdout or /dev/null would replace the device by a file.
    private static bool IsDevice(string full) => Path.GetDirectoryName(full) is "/dev" or "/dev/fd" or "/dev/pts" or "/proc/self/fd" && File.Exists(full);
}
