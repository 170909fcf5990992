using DiffusionCore.Runtime;

namespace DiffusionCore.Weights;

/// <summary>Folders of a model's components. Their names come from the model's own files, which may lie.</summary>
public static class ComponentFolder
{
    /// <summary>The folder of a component: directly inside <paramref name="root"/>, also after links are followed.</summary>
    /// <remarks>Links of single files may lead elsewhere: the caches of model hubs are made of them.</remarks>
    /// <exception cref="ModelFileException">There is none, or the name leads out of the model.</exception>
    public static string Of(string root, string name)
    {
        if (name.Length == 0 || name is "." or ".." || name.AsSpan().ContainsAny('/', '\\', '\0') || Path.IsPathRooted(name))
            throw new ModelFileException(root, name, "is not a component name: expected the name of a folder inside the model");
        string folder = Path.Combine(root, name);
        if (!Directory.Exists(folder)) throw new ModelFileException(root, name, File.Exists(folder) ? "is a file; expected a component folder" : "there is no such component folder");
        try
        {
            var target = new DirectoryInfo(folder).ResolveLinkTarget(returnFinalTarget: true);
            if (target is null) return folder;

            // Compared from the disk's root on: the model's own folder may be reached through a link as well.
            string inside = Path.TrimEndingDirectorySeparator(Real(root)) + Path.DirectorySeparatorChar;
            if (!Real(target.FullName).StartsWith(inside, StringComparison.Ordinal)) throw new ModelFileException(root, name, $"is a link to '{target.FullName}', outside the model");
            return folder;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ModelFileException(root, name, $"cannot be read: {e.Message}", e);
        }
    }

    private static string Real(string path)
    {
        string full = Path.GetFullPath(path), real = Path.GetPathRoot(full)!;
        foreach (string part in full[real.Length..].Split(Path.DirectorySeparatorChar, StringSplitOptions.RemoveEmptyEntries))
        {
            string next = Path.Combine(real, part);
            real = Directory.ResolveLinkTarget(next, returnFinalTarget: true) is { } target ? Real(target.FullName) : next;
        }

        return real;
    }
}
