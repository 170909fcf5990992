using System.Diagnostics;

namespace DiffusionCore.Cli.Tests;

/// <summary>A fact about the published native binary, whose folder DCORE_NATIVE names.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class NativeFactAttribute : FactAttribute
{
    public const string Variable = "DCORE_NATIVE";

    public NativeFactAttribute()
    {
        if (Folder is null) Skip = $"no native binary: publish with -p:PublishAot=true and set {Variable} to the output folder";
    }

    public static string? Folder { get; } = Environment.GetEnvironmentVariable(Variable) is { Length: > 0 } f && File.Exists(Path.Combine(f, "dcore")) ? Path.GetFullPath(f) : null;
}

public sealed class NativeBinaryTests : CliTestBase
{
    private const long MostBytes = 15_000_000;
    private const int Repeats = 10;
    private const double HelpMilliseconds = 30, FirstStepMilliseconds = 150;

    private static string Binary => Path.Combine(NativeFactAttribute.Folder!, "dcore");

    [NativeFact]
    public void It_is_small_and_comes_alone()
    {
        Assert.InRange(new FileInfo(Binary).Length, 1, MostBytes);
        Assert.Equal(["dcore", "weights"], Directory.GetFileSystemEntries(NativeFactAttribute.Folder!).Select(Path.GetFileName).Order(StringComparer.Ordinal));
    }

    [NativeFact]
    public void It_says_that_it_has_no_gpu_devices()
    {
        var result = RunNative("devices", "--json");
        Assert.Equal(0, result.Exit);
        Assert.Contains("left out of this build", result.Output);
        var refused = RunNative("generate", "--device", "opencl", "-o", "x.png");
        Assert.Equal(4, refused.Exit);
        Assert.Contains("this build", refused.Error);
    }

    [NativeFact]
    public void Help_and_the_first_step_come_at_once()
    {
        double help = Median(() => RunNative("--help"));
        Assert.True(help <= HelpMilliseconds, $"--help: median {help:F1} ms, at most {HelpMilliseconds}");
        double step = Median(() => RunNative("generate", "--class", "bag", "--steps", "1", "--seed", "1", "-o", "step.png", "--force"));
        Assert.True(step <= FirstStepMilliseconds, $"one step, start and end of the process included: median {step:F1} ms, at most {FirstStepMilliseconds}");
    }

    [NativeFact]
    public void It_makes_the_same_bytes_as_the_jit_with_and_without_avx512()
    {
        string[] arguments = ["generate", "--class", "all", "--count", "3", "--steps", "4", "--seed", "7", "--grid", "-o"];
        Assert.Equal(0, RunNative([.. arguments, "native.png"]).Exit);
        Assert.Equal(0, Run([.. arguments, "jit.png"]).Exit);
        Assert.Equal(0, Run([.. arguments, "avx2.png"], ("DOTNET_EnableAVX512", "0")).Exit);
        byte[] native = File.ReadAllBytes(Path.Combine(folder, "native.png"));
        Assert.Equal(File.ReadAllBytes(Path.Combine(folder, "jit.png")), native);
        Assert.Equal(File.ReadAllBytes(Path.Combine(folder, "avx2.png")), native);
    }

    [NativeFact]
    public void It_opens_no_library_but_the_c_library()
    {
        // Where it is alone in a root of its own, any other library would be missing. Needs the right to change the root.
        string root = Path.Combine(folder, "root");
        Directory.CreateDirectory(root);
        var ldd = Execute("ldd", [Binary]);
        string[] libraries = [.. ldd.Output.Split([' ', '\n', '\t'], StringSplitOptions.RemoveEmptyEntries).Where(w => w.StartsWith('/')).Distinct()];
        Assert.All(libraries, l => Assert.Contains(Path.GetFileName(l), (string[])["libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2"]));
        foreach (string library in libraries)
        {
            string to = root + library;
            Directory.CreateDirectory(Path.GetDirectoryName(to)!);
            File.Copy(library, to);
        }

        File.Copy(Binary, Path.Combine(root, "dcore"));
        Assert.Equal(0, Execute("cp", ["-r", Path.Combine(NativeFactAttribute.Folder!, "weights"), root]).Exit);
        var alone = Execute("chroot", [root, "/dcore", "generate", "--class", "bag", "--steps", "1", "--seed", "1", "-o", "/x.png"]);
        if (alone.Error.Contains("Operation not permitted", StringComparison.Ordinal)) return;       // not root: the list of libraries has been checked
        Assert.True(alone.Exit == 0, alone.Error);
        Assert.True(File.Exists(Path.Combine(root, "x.png")));
    }

    private static double Median(Func<(int Exit, string Output, string Error)> run)
    {
        var times = new double[Repeats];
        for (int i = 0; i < Repeats; i++)
        {
            long start = Stopwatch.GetTimestamp();
            var result = run();
            times[i] = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
            Assert.True(result.Exit == 0, result.Error);
        }

        Array.Sort(times);
        return (times[Repeats / 2 - 1] + times[Repeats / 2]) / 2;
    }

    private (int Exit, string Output, string Error) RunNative(params string[] arguments) => Execute(Binary, arguments);

    private (int Exit, string Output, string Error) Execute(string program, string[] arguments)
    {
        var start = new ProcessStartInfo(program) { WorkingDirectory = folder, RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (string a in arguments) start.ArgumentList.Add(a);
        using var process = Process.Start(start)!;
        return Finish(process);
    }
}
