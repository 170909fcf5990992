namespace DiffusionCore.Runtime;

/// <summary>What kind of thing went wrong; the value is the exit code of the command line.</summary>
public enum ErrorKind
{
    Usage = 2,
    Model = 3,
    Device = 4,
    Memory = 5,
    Io = 6,
}

/// <summary>Base of every error that the engine raises on purpose. The message is one line: what, where, expected, found, what to do.</summary>
public abstract class DiffusionCoreException(ErrorKind kind, string message, Exception? inner = null) : Exception(message, inner)
{
    public ErrorKind Kind { get; } = kind;
}

/// <summary>An option or argument that cannot be used.</summary>
public sealed class UsageException(string message, Exception? inner = null) : DiffusionCoreException(ErrorKind.Usage, message, inner);

/// <summary>A model or input file that is not what it should be. Names the file and, where there is one, the tensor or field.</summary>
public class ModelFileException(string file, string? item, string problem, Exception? inner = null)
    : DiffusionCoreException(ErrorKind.Model, OneLine.Of(item is null ? $"{file}: {problem}" : $"{file}: {OneLine.Short(item)}: {problem}"), inner)
{
    public string File { get; } = file;

    /// <summary>Tensor or field; null where the file as a whole is meant.</summary>
    public string? Item { get; } = item;
}

/// <summary>Names come from files that anyone may have written: in a message they stay on one line, visible and short.</summary>
internal static class OneLine
{
    private const int MaximumName = 200, MaximumMessage = 4000;

    public static string Short(string name) => name.Length <= MaximumName ? name : $"{name[..MaximumName]}... ({name.Length} characters)";

    public static string Of(string text)
    {
        if (text.Length > MaximumMessage) text = text[..MaximumMessage] + "...";
        if (!text.Any(char.IsControl)) return text;
        var line = new System.Text.StringBuilder(text.Length + 16);
        foreach (char c in text)
        {
            if (c == '\n') line.Append("\\n");
            else if (char.IsControl(c)) line.Append(System.Globalization.CultureInfo.InvariantCulture, $"\\u{(int)c:x4}");
            else line.Append(c);
        }

        return line.ToString();
    }
}

/// <summary>A device that is absent, or that cannot do what was asked.</summary>
public sealed class DeviceException(string message, Exception? inner = null) : DiffusionCoreException(ErrorKind.Device, message, inner);

/// <summary>More memory than there is, or than was allowed; refused before anything runs.</summary>
public sealed class MemoryException(string message, Exception? inner = null) : DiffusionCoreException(ErrorKind.Memory, message, inner);

/// <summary>A file that cannot be read or written.</summary>
public sealed class FileException(string file, string problem, Exception? inner = null)
    : DiffusionCoreException(ErrorKind.Io, OneLine.Of($"{file}: {problem}"), inner);
