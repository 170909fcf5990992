using System.Diagnostics;
using System.Globalization;
using DiffusionCore.Imaging;

namespace DiffusionCore.Cli.Tests;

/// <summary>What goes wrong outside the program: disks, streams, signals, other processes. Finished files are whole, the rest is absent.</summary>
public sealed class FaultTests : CliTestBase
{
    [MountFact]
    public void A_full_disk_keeps_the_finished_images_and_nothing_else()
    {
        string disk = Path.Combine(folder, "disk");
        using var mount = new Mount(disk, "size=64k");
        var result = Run("generate", "--steps", "1", "--seed", "1", "--count", "50", "--batch", "4", "-o", "disk/");
        Assert.Equal(6, result.Exit);
        Assert.Contains("cannot be written: No space left on device", Line(result.Error));
        AssertWhole(disk, 1, 49);
    }

    [MountFact]
    public void A_disk_without_room_for_one_byte_is_named_before_any_work()
    {
        string disk = Path.Combine(folder, "disk");
        using var mount = new Mount(disk, "size=4k");
        File.WriteAllBytes(Path.Combine(disk, "filler"), new byte[4096]);
        var result = Run("generate", "--steps", "1", "--seed", "1", "-o", "disk/x.png");
        Assert.Equal(6, result.Exit);
        Assert.Contains("disk/x.png: cannot be written: No space left on device", Line(result.Error));
        Assert.DoesNotContain("tensors used", result.Error);
        Assert.Single(Directory.GetFileSystemEntries(disk));
    }

    [MountFact]
    public void A_read_only_disk_is_named_before_any_work()
    {
        string disk = Path.Combine(folder, "disk");
        using var mount = new Mount(disk, "size=64k,ro");
        foreach (string[] command in new[] { new[] { "generate", "--steps", "1", "-o", "disk/x.png" }, ["run", "--model", "nowhere", "--input", "a", "--output", "disk/x.safetensors"] })
        {
            var result = Run(command);
            Assert.Equal(6, result.Exit);
            Assert.Contains("cannot be written: Read-only file system", Line(result.Error));
            Assert.DoesNotContain("tensors used", result.Error);
        }
    }

    /// <summary>A folder is not made: a name that is mistyped would put images where nobody looks.</summary>
    [Theory]
    [InlineData("missing/x.png")]
    [InlineData("missing/")]
    public void A_missing_folder_is_refused_and_not_made(string output)
    {
        Expect(6, "does not exist; create it first", "generate", "--steps", "1", "-o", output);
        Assert.Empty(Directory.GetFileSystemEntries(folder));
    }

    [Theory]
    [InlineData("schedule --steps 9 > /dev/full", 6, "standard output: cannot be written: No space left on device")]
    [InlineData("schedule --steps 9 --json > /dev/full", 6, "standard output: cannot be written: No space left on device")]
    [InlineData("devices > /dev/full", 6, "standard output: cannot be written: No space left on device")]
    [InlineData("--help > /dev/full", 6, "standard output: cannot be written: No space left on device")]
    [InlineData("> /dev/full", 6, "standard output: cannot be written: No space left on device")]
    [InlineData("schedule --steps 9 >&-", 6, "standard output: cannot be written: it is closed")]
    [InlineData("generate --steps 1 --seed 1 > /dev/full", 6, "standard output: cannot be written: No space left on device")]
    public void A_full_or_closed_standard_output_is_named(string line, int exit, string part)
    {
        if (!OperatingSystem.IsLinux()) return;
        var result = Shell(line);
        Assert.Equal(exit, result.Exit);
        Assert.Contains(part, Line(result.Error));
        AssertWhole(folder, 0, 1);
    }

    [Theory]
    [InlineData("inspect p")]
    [InlineData("generate --model p")]
    [InlineData("schedule --config p")]
    public void A_named_pipe_is_refused_and_not_waited_for(string line)
    {
        if (OperatingSystem.IsWindows()) return;
        using (var make = Process.Start("mkfifo", Path.Combine(folder, "p"))) make.WaitForExit();
        var result = Shell(line);
        Assert.Equal(3, result.Exit);
        Assert.Contains("p: is empty, or is not a regular file", Line(result.Error));
    }

    [Theory]
    [InlineData(2, "the name of the model is empty", "generate", "--model", "")]
    [InlineData(3, "'': an empty file name", "inspect", "")]
    [InlineData(3, "'': an empty file name", "schedule", "--config", "")]
    [InlineData(6, "'': an empty file name", "generate", "--steps", "1", "-o", "")]
    public void An_empty_name_is_named(int exit, string part, params string[] arguments) => Expect(exit, part, arguments);

    /// <summary>A step of these takes seconds: the first signal waits for it, the second does not.</summary>
    [Theory]
    [InlineData("INT", 130)]
    [InlineData("TERM", 143)]
    public async Task A_second_signal_ends_the_program_at_once(string signal, int exit)
    {
        if (OperatingSystem.IsWindows()) return;
        using var process = Start(["generate", "--size", "512x512", "--batch", "4", "--count", "4", "--steps", "50", "--seed", "1"]);
        string error = "";
        while (!error.Contains("tensors used", StringComparison.Ordinal)) error = await process.StandardError.ReadLineAsync() ?? throw new InvalidOperationException("it ended by itself");
        await Task.Delay(1000);
        Signal(process, signal);
        await Task.Delay(300);
        Signal(process, signal);
        Assert.True(process.WaitForExit(30_000), "still running");
        Assert.Equal(exit, process.ExitCode);
        Assert.Empty(Directory.GetFileSystemEntries(folder));
    }

    [Fact]
    public async Task A_killed_run_leaves_whole_images_and_nothing_that_a_later_run_trips_on()
    {
        if (OperatingSystem.IsWindows()) return;
        string[] arguments = ["generate", "--count", "50", "--batch", "1", "--steps", "2", "--seed", "1"];
        for (int round = 1; round <= 3; round++)
        {
            using var process = Start([.. arguments, "--force"]);
            _ = process.StandardError.ReadToEndAsync();
            string awaited = Path.Combine(folder, $"dcore-{4 * round}.png");
            for (int i = 0; i < 600 && !File.Exists(awaited) && !process.HasExited; i++) await Task.Delay(20);
            Signal(process, "KILL");
            Assert.True(process.WaitForExit(20_000), "still running");
            foreach (string file in Directory.GetFiles(folder, "*.png")) Decode(file);
            Assert.All(Directory.GetFiles(folder).Select(f => Path.GetFileName(f)), f => Assert.True(f.EndsWith(".png", StringComparison.Ordinal) || (f.StartsWith(".dcore-", StringComparison.Ordinal) && f.EndsWith(".tmp", StringComparison.Ordinal)), f));
        }

        Assert.Equal(0, Run([.. arguments, "--force"]).Exit);
        Assert.Equal(50, Directory.GetFiles(folder, "*.png").Length);
        foreach (string file in Directory.GetFiles(folder, "*.png")) Decode(file);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Two_processes_that_write_one_file_leave_it_whole(bool force)
    {
        string[] arguments = ["generate", "--steps", "2", "--seed", "1", "-o", "one.png", .. force ? new[] { "--force" } : []];
        using Process first = Start(arguments), second = Start(arguments);
        var results = await Task.WhenAll(Task.Run(() => Finish(first)), Task.Run(() => Finish(second)));
        Assert.Equal(force ? [0, 0] : new[] { 0, 6 }, results.Select(r => r.Exit).Order());
        if (!force) Assert.Contains("one.png: exists already", results.Single(r => r.Exit == 6).Error);
        AssertWhole(folder, 1, 1);
    }

    private static string Line(string error) => Assert.Single(error.Split('\n'), l => l.StartsWith("dcore: error: ", StringComparison.Ordinal));

    private static void AssertWhole(string where, int least, int most)
    {
        string[] entries = Directory.GetFileSystemEntries(where);
        Assert.InRange(entries.Length, least, most);
        Assert.All(entries, Decode);
    }

    private static void Decode(string file) => Assert.Equal(32, new StbCodec().Decode(File.ReadAllBytes(file), file).Width);

    private static void Signal(Process process, string name)
    {
        using var kill = Process.Start("kill", [$"-{name}", process.Id.ToString(CultureInfo.InvariantCulture)]);
        kill.WaitForExit();
    }

    private (int Exit, string Output, string Error) Shell(string arguments)
    {
        var start = new ProcessStartInfo("bash", ["-o", "pipefail", "-c", $"dotnet '{Program}' {arguments}"]) { WorkingDirectory = folder, RedirectStandardOutput = true, RedirectStandardError = true };
        using var process = Process.Start(start)!;
        return Finish(process);
    }
}
