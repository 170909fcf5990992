using System.Text.Json;

namespace DiffusionCore.Fuzz;

/// <summary>A parser that reads a folder: one file of it is the input, the others are sound.</summary>
public abstract class FolderTarget : FuzzTarget
{
    private string? folder;

    /// <summary>Path of the folder; made when it is first asked for, gone when the process ends.</summary>
    protected string Folder
    {
        get
        {
            if (folder is not null) return folder;
            folder = Directory.CreateTempSubdirectory("dcore-fuzz-").FullName;
            AppDomain.CurrentDomain.ProcessExit += (_, _) => Directory.Delete(folder, recursive: true);
            Prepare();
            return folder;
        }
    }

    /// <summary>The file that the input is written to.</summary>
    protected abstract string FileName { get; }

    /// <summary>Writes the other files.</summary>
    protected virtual void Prepare()
    {
    }

    protected void Write(string name, ReadOnlySpan<byte> content) => File.WriteAllBytes(Path.Combine(Folder, name), content);

    protected void Write(string name, string content) => File.WriteAllText(Path.Combine(Folder, name), content);

    public sealed override object Parse(byte[] input)
    {
        Write(FileName, input);
        return Read();
    }

    /// <summary>A JSON object with its fields in the other order, as another hand would lay it out.</summary>
    protected static byte[] Reversed(byte[] input)
    {
        using var document = JsonDocument.Parse(input.AsSpan().StartsWith("\uFEFF"u8) ? input[3..] : input);
        using var stream = new MemoryStream();
        using (var writer = new Utf8JsonWriter(stream, new JsonWriterOptions { Indented = true }))
        {
            writer.WriteStartObject();
            foreach (var property in document.RootElement.EnumerateObject().Reverse()) property.WriteTo(writer);
            writer.WriteEndObject();
        }

        return stream.ToArray();
    }

    /// <summary>Reads the folder.</summary>
    protected abstract object Read();
}
