using System.Diagnostics;

namespace DiffusionCore.Cli.Tests;

/// <summary>A fact that mounts a small file system, as the superuser of a container may; skipped where that is not permitted.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class MountFactAttribute : FactAttribute
{
    private static readonly Lazy<bool> Allowed = new(() =>
    {
        if (!OperatingSystem.IsLinux()) return false;
        string folder = Directory.CreateTempSubdirectory("dcore-mount-").FullName;
        using (new Mount(folder, "size=64k"))
        {
        }

        bool allowed = Mount.Worked;
        Directory.Delete(folder);
        return allowed;
    });

    public MountFactAttribute()
    {
        if (!Allowed.Value) Skip = "mounting a file system is not permitted here";
    }
}

/// <summary>A file system in memory, as long as this lives.</summary>
internal sealed class Mount : IDisposable
{
    private readonly string folder;

    public Mount(string folder, string options)
    {
        this.folder = folder;
        Directory.CreateDirectory(folder);
        Worked = Call("mount", "-t", "tmpfs", "-o", options, "tmpfs", folder);
    }

    public static bool Worked { get; private set; }

    public void Dispose()
    {
        if (Worked) Call("umount", folder);
    }

    private static bool Call(string program, params string[] arguments)
    {
        try
        {
            using var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardError = true, RedirectStandardOutput = true })!;
            process.WaitForExit();
            return process.ExitCode == 0;
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return false;
        }
    }
}
