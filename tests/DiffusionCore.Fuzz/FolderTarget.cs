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

    /// <summary>Reads the folder.</summary>
    protected abstract object Read();
}
