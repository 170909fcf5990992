using System.Diagnostics;

namespace DiffusionCore.Cli.Tests;

/// <summary>Runs the built program in a child process, in a folder of its own.</summary>
public abstract class CliTestBase : IDisposable
{
    protected readonly string folder = Directory.CreateTempSubdirectory("dcore-tests-").FullName;

    protected static string Program { get; } = Path.Combine(AppContext.BaseDirectory, "dcore.dll");

    public void Dispose()
    {
        Directory.Delete(folder, recursive: true);
        GC.SuppressFinalize(this);
    }

    protected static (int Exit, string Output, string Error) Finish(Process process)
    {
        var output = process.StandardOutput.ReadToEndAsync();
        var error = process.StandardError.ReadToEndAsync();
        Assert.True(process.WaitForExit(180_000), "the program hangs");
        return (process.ExitCode, output.Result, error.Result);
    }

    protected void Expect(int exit, string part, params string[] arguments)
    {
        var result = Run(arguments);
        Assert.True(exit == result.Exit && result.Error.Contains(part, StringComparison.Ordinal), $"exit {result.Exit}: {result.Error}");
        Assert.False(File.Exists(Path.Combine(folder, "x.png")));
    }

    protected string CopyModel()
    {
        string source = Path.Combine(AppContext.BaseDirectory, "weights", "fashion-ddpm-32"), target = Path.Combine(folder, "model");
        foreach (string file in Directory.GetFiles(source, "*", SearchOption.AllDirectories))
        {
            string to = Path.Combine(target, Path.GetRelativePath(source, file));
            Directory.CreateDirectory(Path.GetDirectoryName(to)!);
            File.Copy(file, to);
        }

        return target;
    }

    protected (int Exit, string Output, string Error) Run(params string[] arguments)
    {
        using var process = Start(arguments);
        return Finish(process);
    }

    protected (int Exit, string Output, string Error) Run(string[] arguments, (string Name, string Value) variable)
    {
        using var process = Start(arguments, variable);
        return Finish(process);
    }

    protected Process Start(string[] arguments, (string Name, string Value)? variable = null)
    {
        var start = new ProcessStartInfo("dotnet") { WorkingDirectory = folder, RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = true };
        start.ArgumentList.Add(Program);
        foreach (string a in arguments) start.ArgumentList.Add(a);
        if (variable is { } v) start.Environment[v.Name] = v.Value;
        return Process.Start(start)!;
    }
}
