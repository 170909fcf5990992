using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using DiffusionCore.Imaging;
using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Cli.Tests;

/// <summary>Streams that are closed or full, odd arguments, and what may not be lost or said wrongly.</summary>
public sealed class CliEdgeTests : CliTestBase
{
    [Theory]
    [InlineData("unknown option '--version'", "generate", "--version")]
    [InlineData("unknown option", "generate", "--version", "--stepz")]
    [InlineData("unknown option '--json'", "--json")]
    [InlineData("unknown argument 'extra'", "generate", "extra")]
    [InlineData("--steps", "generate", "--steps")]
    [InlineData("--steps", "generate", "--steps", "3", "--steps", "4")]
    [InlineData("MODEL", "inspect")]
    [InlineData("unknown argument 'b'", "inspect", "a", "b")]
    [InlineData("--input", "run", "--model", "m", "--output", "o")]
    [InlineData("--device: cpu has no number", "generate", "--device", "cpu:1", "--steps", "1")]
    [InlineData("--device: expected a number after 'cuda:'", "generate", "--device", "cuda:first", "--steps", "1")]
    [InlineData("did you mean 'cuda'", "generate", "--device", "cudda", "--steps", "1")]
    [InlineData("expected a name that ends in .png", "generate", "--steps", "1", "-o", "x.JPG")]
    [InlineData("the last of 2 images would have seed 9223372036854775808", "generate", "--steps", "1", "--count", "2", "--seed", "9223372036854775807")]
    [InlineData("--threads: expected a whole number from 0 to 1024", "generate", "--threads", "1025")]
    [InlineData("--threads: expected a whole number", "devices", "--threads", "-1")]
    [InlineData("--count: expected a whole number from 1 to 100000", "generate", "--count", "100001")]
    [InlineData("--steps: expected a whole number from 1 to 10000", "generate", "--steps", "10001")]
    [InlineData("--steps: expected a whole number", "generate", "--steps", "3.5")]
    [InlineData("--guidance: expected a number", "generate", "--guidance", "1;5")]
    [InlineData("--guidance: expected a number", "generate", "--guidance", "Infinity")]
    [InlineData("--size: expected", "generate", "--size", "32")]
    [InlineData("--size: expected", "generate", "--size", "32x32x32")]
    [InlineData("--size: expected", "generate", "--size", "-32x32")]
    [InlineData("--memory-limit: expected a size", "generate", "--memory-limit", "-1GB")]
    [InlineData("--memory-limit: expected a size", "generate", "--memory-limit", "GB")]
    [InlineData("class '' is unknown", "generate", "--class", "bag,,coat")]
    [InlineData("class '@bag' is unknown", "generate", "--class", "@bag")]
    public void Wrong_usage_is_one_line_and_exit_code_2(string part, params string[] arguments)
    {
        var result = Run(arguments);
        Assert.Equal(2, result.Exit);
        Assert.Equal("", result.Output);
        Assert.Contains(part, Assert.Single(result.Error.Split('\n', StringSplitOptions.RemoveEmptyEntries), l => !IsNote(l)));
        Assert.Empty(Directory.GetFileSystemEntries(folder));
    }

    [Fact]
    public void The_text_in_the_file_says_how_to_make_it_again()
    {
        Assert.Equal(0, Run("generate", "--class", "ankle boot", "--steps", "2", "--seed", "9", "--sampler", "ddim", "--eta", "0.5", "--guidance", "2", "-o", "boot.png").Exit);
        Assert.Equal("ankle boot\nSteps: 2, Sampler: ddim, Schedule type: default, CFG scale: 2, Seed: 9, Size: 32x32, Model: fashion-ddpm-32, Class: ankle boot, Eta: 0.5, Noise: torch-cpu f32, Version: DiffusionCore "
            + Run("--version").Output.Split('+')[0].Trim(), Parameters("boot.png"));
    }

    [Fact]
    public void Guidance_that_does_nothing_is_said_and_not_recorded()
    {
        var plain = Run("generate", "--steps", "1", "--seed", "1", "-o", "plain.png");
        Assert.DoesNotContain("--guidance", plain.Error);
        Assert.Contains("CFG scale: 1,", Parameters("plain.png"));
        var asked = Run("generate", "--steps", "1", "--seed", "1", "--guidance", "3", "-o", "asked.png");
        Assert.Contains("--guidance has no effect without --class", asked.Error);
        Assert.Equal(File.ReadAllBytes(Path.Combine(folder, "plain.png")), File.ReadAllBytes(Path.Combine(folder, "asked.png")));
    }

    [Fact]
    public void A_model_without_a_null_class_is_run_without_guidance_unless_asked()
    {
        string model = CopyModel(), classes = Path.Combine(model, "classes.json");
        File.WriteAllText(classes, File.ReadAllText(classes).Replace("\"null_class\": 10", "\"null_class\": null", StringComparison.Ordinal));
        Assert.Equal(0, Run("generate", "--model", model, "--class", "bag", "--steps", "1", "--seed", "1", "-o", "bag.png").Exit);
        Expect(2, "use --guidance 1", "generate", "--model", model, "--class", "bag", "--steps", "1", "--guidance", "2", "-o", "x.png");
        Expect(2, "give --class", "generate", "--model", model, "--steps", "1", "-o", "x.png");
    }

    [Fact]
    public void A_grid_holds_the_images_of_its_run_in_order()
    {
        Assert.Equal(0, Run("generate", "--class", "all", "--count", "3", "--steps", "2", "--seed", "4", "--grid", "-o", "grid.png").Exit);
        Assert.Equal(0, Run("generate", "--class", "all", "--count", "3", "--steps", "2", "--seed", "4", "-o", "one.png").Exit);
        Assert.Equal(["grid.png", "one-00001.png", "one-00002.png", "one-00003.png"], Directory.GetFiles(folder).Select(f => Path.GetFileName(f)!).Order(StringComparer.Ordinal));
        var images = Enumerable.Range(1, 3).Select(i => Decode($"one-0000{i}.png")).ToArray();
        var grid = Decode("grid.png");
        Assert.Equal((64, 64), (grid.Width, grid.Height));
        Assert.Equal(Image.Grid(images, 2).Pixels, grid.Pixels);
        Assert.Contains("Grid: 2x2", Parameters("grid.png"));
        Assert.Contains("Seed: 6,", Parameters("one-00003.png"));
    }

    [Fact]
    public void Nothing_is_drawn_when_one_of_the_files_exists()
    {
        File.WriteAllText(Path.Combine(folder, "many-00003.png"), "kept");
        Expect(6, "many-00003.png: exists already; give --force", "generate", "--steps", "1", "--seed", "1", "--count", "4", "-o", "many.png");
        Assert.Equal("kept", File.ReadAllText(Assert.Single(Directory.GetFiles(folder))));
    }

    [Fact]
    public void A_random_seed_is_said_and_makes_the_same_image_again()
    {
        var first = Run("generate", "--steps", "1", "--seed", "-1", "--json");
        using var document = JsonDocument.Parse(first.Output);
        string seed = document.RootElement.GetProperty("seed").GetUInt64().ToString(CultureInfo.InvariantCulture);
        string file = document.RootElement.GetProperty("images")[0].GetProperty("file").GetString()!;
        Assert.EndsWith($"dcore-{seed}.png", file);
        Assert.Contains($"seed {seed}", first.Error);
        Assert.Equal(0, Run("generate", "--steps", "1", "--seed", seed, "-o", "again.png").Exit);
        Assert.Equal(File.ReadAllBytes(file), File.ReadAllBytes(Path.Combine(folder, "again.png")));
    }

    [Fact]
    public void A_folder_and_a_size_are_taken_and_results_alone_are_on_stdout()
    {
        Directory.CreateDirectory(Path.Combine(folder, "out"));
        var result = Run("generate", "--steps", "1", "--seed", "3", "--count", "2", "--size", "40x24", "-o", "out");
        Assert.Equal(0, result.Exit);
        Assert.Equal([Path.Combine("out", "dcore-3.png"), Path.Combine("out", "dcore-4.png")], result.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries));
        Assert.All(result.Error.Split('\n', StringSplitOptions.RemoveEmptyEntries), l => Assert.True(IsNote(l), l));
        Assert.DoesNotContain('\r', result.Error);         // progress is for terminals
        var image = Decode(Path.Combine("out", "dcore-4.png"));
        Assert.Equal((40, 24, 1), (image.Width, image.Height, image.Channels));
    }

    [Theory]
    [InlineData("schedule --steps 9 > /dev/full", 6)]
    [InlineData("schedule --steps 9 --json > /dev/full", 6)]
    [InlineData("schedule --steps 900 | head -n 1 > /dev/null", 0)]
    [InlineData("schedule --steps 9 2>&-", 0)]
    [InlineData("schedule --stepz 9 2>&-", 2)]
    [InlineData("schedule --stepz 9 2> /dev/full", 2)]
    [InlineData("generate --steps 1 --seed 1 2> /dev/full", 0)]
    [InlineData("generate --steps 1 --seed 1 2>&-", 0)]
    [InlineData("generate --steps 1 --seed 1 -o /dev/full", 6)]
    [InlineData("generate --steps 1 --seed 1 -o /dev/null", 0)]
    public void Closed_and_full_streams_end_with_the_right_code(string line, int exit)
    {
        if (!OperatingSystem.IsLinux()) return;
        var result = Shell(line);
        Assert.Equal(exit, result.Exit);
        Assert.DoesNotContain("   at ", result.Error);
        Assert.DoesNotContain("--force", result.Error);
        Assert.DoesNotContain("please report", result.Error);
    }

    [Theory]
    [InlineData("INT", 130)]
    [InlineData("TERM", 143)]
    public async Task A_signal_has_its_exit_code_and_keeps_what_is_finished(string signal, int exit)
    {
        if (OperatingSystem.IsWindows()) return;
        using var process = Start(["generate", "--count", "500", "--batch", "1", "--steps", "2", "--seed", "1", "-o", "made.png"]);
        var error = process.StandardError.ReadToEndAsync();
        for (int i = 0; i < 300 && !File.Exists(Path.Combine(folder, "made-00002.png")); i++) await Task.Delay(100);
        using (var kill = Process.Start("kill", [$"-{signal}", process.Id.ToString(CultureInfo.InvariantCulture)])) kill.WaitForExit();
        Assert.True(process.WaitForExit(20_000), "still running");
        Assert.Equal(exit, process.ExitCode);
        Assert.EndsWith("dcore: error: cancelled\n", await error);
        Assert.NotEmpty(Directory.GetFiles(folder));
        Assert.All(Directory.GetFiles(folder), f => Assert.Equal((32, 32), (Decode(f).Width, Decode(f).Height)));
    }

    [Fact]
    public void A_file_with_escape_sequences_in_its_names_does_not_reach_the_terminal()
    {
        string file = Path.Combine(folder, "odd.safetensors");
        byte[] header = """{"__metadata__":{"note":"\u001b[31mred\nnext"},"a\u001b]0;title\u0007[b]":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"""u8.ToArray();
        File.WriteAllBytes(file, [.. BitConverter.GetBytes((long)header.Length), .. header, 0, 0, 0, 0]);
        var result = Run("inspect", file);
        Assert.Equal(0, result.Exit);
        Assert.DoesNotContain('\u001b', result.Output);
        Assert.DoesNotContain('\u0007', result.Output);
        Assert.Contains("a\\u001b]0;title\\u0007[b]", result.Output);
        using var document = JsonDocument.Parse(Run("inspect", file, "--json").Output);
        Assert.Equal("a\u001b]0;title\u0007[b]", document.RootElement.GetProperty("components")[0].GetProperty("tensors")[0].GetProperty("name").GetString());
    }

    [Theory]
    [InlineData("PK\u0003\u0004archive", "zip archive")]
    [InlineData("GGUF\u0003\0\0\0", "GGUF")]
    [InlineData("version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer")]
    [InlineData("<!DOCTYPE html><html>", "web page")]
    [InlineData("", "is empty")]
    public void Inspect_says_what_a_file_is_that_is_not_weights(string start, string part)
    {
        File.WriteAllText(Path.Combine(folder, "model.bin"), start, System.Text.Encoding.Latin1);
        Expect(3, part, "inspect", "model.bin");
        Expect(3, part, "generate", "--model", "model.bin", "-o", "x.png");
    }

    [Fact]
    public void Inspect_counts_the_tensors_of_the_file()
    {
        string path = Path.Combine(AppContext.BaseDirectory, "weights", "fashion-ddpm-32");
        using var file = SafetensorsFile.Open(Path.Combine(path, "unet", "diffusion_pytorch_model.safetensors"));
        using var document = JsonDocument.Parse(Run("inspect", path, "--json").Output);
        var unet = Assert.Single(document.RootElement.GetProperty("components").EnumerateArray());
        Assert.Equal("UNet2DModel", unet.GetProperty("class").GetString());
        Assert.Equal(2_736_353, unet.GetProperty("parameters").GetDouble());
        Assert.Equal(file.Tensors.Keys.Order(StringComparer.Ordinal), unet.GetProperty("tensors").EnumerateArray().Select(t => t.GetProperty("name").GetString()!));
    }

    [Fact]
    public void The_folder_of_weights_can_be_set()
    {
        var missing = Run(["generate", "--steps", "1", "-o", "x.png"], ("DCORE_WEIGHTS", Path.Combine(folder, "nowhere")));
        Assert.Equal(3, missing.Exit);
        Assert.Contains("DCORE_WEIGHTS names its parent", missing.Error);
        Assert.Equal(0, Run(["generate", "--steps", "1", "--seed", "1", "-o", "y.png"], ("DCORE_WEIGHTS", Path.Combine(AppContext.BaseDirectory, "weights"))).Exit);
    }

    [Fact]
    public void A_trace_is_printed_only_when_asked_for()
    {
        Assert.DoesNotContain("   at ", Run("inspect", "nowhere").Error);
        Assert.Contains(nameof(ModelFileException), Run(["inspect", "nowhere"], ("DCORE_TRACE", "1")).Error);
    }

    private static bool IsNote(string line) => line.StartsWith("dcore: ", StringComparison.Ordinal) && !line.StartsWith("dcore: error: ", StringComparison.Ordinal);

    private Image Decode(string file) => new StbCodec().Decode(File.ReadAllBytes(Path.Combine(folder, file)), file);

    private string Parameters(string file) => Assert.Single(PngFile.ReadTexts(File.ReadAllBytes(Path.Combine(folder, file)), file), t => t.Key == "parameters").Text;

    private (int Exit, string Output, string Error) Shell(string arguments)
    {
        var start = new ProcessStartInfo("bash", ["-o", "pipefail", "-c", $"dotnet '{Program}' {arguments}"]) { WorkingDirectory = folder, RedirectStandardOutput = true, RedirectStandardError = true };
        using var process = Process.Start(start)!;
        return Finish(process);
    }
}
