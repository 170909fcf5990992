using DiffusionCore.Runtime;

namespace DiffusionCore;

/// <summary>Files that are whole or absent: written beside the target, flushed to the disk, then renamed.</summary>
public static class AtomicFile
{
    /// <param name="path">The target; its folder must exist.</param>
    /// <param name="overwrite">Whether an existing file may be replaced.</param>
    /// <exception cref="FileException">It exists and may not be replaced, or it cannot be written. Nothing is left behind.</exception>
    public static void Write(string path, bool overwrite, Action<Stream> write)
    {
        Check(path, overwrite);
        string full = Path.GetFullPath(path);
        string temporary = Path.Combine(Path.GetDirectoryName(full)!, $".{Path.GetFileName(full)}.{Environment.ProcessId}-{Interlocked.Increment(ref counter)}.tmp");
        bool created = false;
        try
        {
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
            string problem = !overwrite && File.Exists(full) ? "exists already; give --force to replace it" : $"cannot be written: {e.Message}";
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
                catch (IOException)
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
        if (!overwrite && File.Exists(full)) throw new FileException(path, "exists already; give --force to replace it");
    }

    private static int counter;
}
