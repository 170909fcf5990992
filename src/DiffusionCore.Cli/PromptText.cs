using System.CommandLine;
using System.Text;
using DiffusionCore.Runtime;
using DiffusionCore.Text;

namespace DiffusionCore.Cli;

/// <summary>A prompt from the command line or from a file.</summary>
internal static class PromptText
{
    // A prompt has at most so many characters, of at most four bytes each.
    private const long MaximumBytes = 4L * ClipTokenizer.MaximumCharacters;

    public static Option<string?> FileOption(string name, string of) => new(name) { Description = $"UTF-8 text file with {of}; one line break at its end does not count" };

    /// <param name="given">The option's text; null where it was not given.</param>
    /// <param name="file">Null where it was not given.</param>
    /// <exception cref="UsageException">Both, or a text that is not Unicode.</exception>
    /// <exception cref="ModelFileException">A file that cannot be read, is too long or is not UTF-8.</exception>
    public static string? Read(string? given, string? file, string option)
    {
        if (file is not null && given is not null) throw new UsageException($"{option} and {option}-file: give one of them");
        if (file is not null) return FromFile(file);

        // Arguments that are not UTF-8 reach the program with this sign in place of what was wrong.
        if (given?.IndexOf('\uFFFD', StringComparison.Ordinal) is >= 0 and var at) throw new UsageException($"{option}: character {at + 1} is not valid UTF-8");
        return given;
    }

    private static string FromFile(string path)
    {
        try
        {
            var info = new FileInfo(path);
            if (!info.Exists) throw new ModelFileException(path, null, Directory.Exists(path) ? "is a folder; expected a text file" : "there is no such file");
            if (info.Length > MaximumBytes) throw new ModelFileException(path, null, $"has {info.Length} bytes; a prompt has at most {ClipTokenizer.MaximumCharacters} characters");
            using var stream = File.OpenRead(path);
            var buffer = new byte[MaximumBytes + 1];
            int length = stream.ReadAtLeast(buffer, buffer.Length, throwOnEndOfStream: false);
            if (length > MaximumBytes) throw new ModelFileException(path, null, $"has more than {MaximumBytes} bytes; a prompt has at most {ClipTokenizer.MaximumCharacters} characters");
            var bytes = buffer.AsSpan(0, length);
            if (bytes.StartsWith("\uFEFF"u8)) bytes = bytes[3..];
            string text = new UTF8Encoding(false, throwOnInvalidBytes: true).GetString(bytes);
            return text.EndsWith("\r\n", StringComparison.Ordinal) ? text[..^2] : text.EndsWith('\n') ? text[..^1] : text;
        }
        catch (DecoderFallbackException e)
        {
            throw new ModelFileException(path, null, $"is not valid UTF-8 at byte {e.Index}", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or NotSupportedException or ArgumentException)
        {
            throw new ModelFileException(path, null, $"cannot be read: {e.Message}", e);
        }
    }
}
