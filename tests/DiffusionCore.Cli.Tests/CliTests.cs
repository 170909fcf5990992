using System.Diagnostics;
using System.Text.Json;
using DiffusionCore.Imaging;
using DiffusionCore.Weights;

namespace DiffusionCore.Cli.Tests;

/// <summary>The program as its users meet it: a process with arguments, two streams and an exit code.</summary>
public sealed class CliTests : CliTestBase
{
    [Theory]
    [InlineData(3, "no such model folder", "generate", "--model", "nowhere")]
    [InlineData(2, "did you mean 'dpmpp_2m'", "generate", "--sampler", "dpmp_2m", "-o", "x.png")]
    [InlineData(2, "--steps: expected a whole number from 1", "generate", "--steps", "0")]
    [InlineData(2, "--guidance: expected a number", "generate", "--guidance", "nan")]
    [InlineData(2, "size: expected multiples of 4", "generate", "--size", "33x32", "-o", "x.png")]
    [InlineData(2, "--size: expected WIDTHxHEIGHT", "generate", "--size", "big")]
    [InlineData(4, "cuda:77: there is no such device", "generate", "--device", "cuda:77", "-o", "x.png")]
    [InlineData(2, "did you mean 'sneaker'", "generate", "--class", "sneeker", "-o", "x.png")]
    [InlineData(2, "class '99' is unknown", "generate", "--class", "99", "-o", "x.png")]
    [InlineData(2, "--seed: expected", "generate", "--seed", "-5", "-o", "x.png")]
    [InlineData(2, "--count: expected", "generate", "--count", "0")]
    [InlineData(2, "expected 1 to 1000", "generate", "--steps", "2000", "-o", "x.png")]
    [InlineData(6, "does not exist", "generate", "-o", "missing/folder/x.png")]
    [InlineData(5, "the limit is", "generate", "--memory-limit", "1MB", "-o", "x.png")]
    [InlineData(5, "at once need", "generate", "--size", "16384x16384", "-o", "x.png")]
    [InlineData(2, "--grid: 100000 images", "generate", "--size", "1024x1024", "--count", "100000", "--grid", "-o", "x.png")]
    [InlineData(2, "--memory-limit: expected a size", "generate", "--memory-limit", "much", "-o", "x.png")]
    [InlineData(2, "unknown command 'generat'; did you mean 'generate'", "generat")]
    [InlineData(2, "unknown option '--stepz'; did you mean '--steps'", "generate", "--stepz", "4")]
    [InlineData(3, "there is no such file", "inspect", "nowhere.safetensors")]
    [InlineData(2, "schedule 'karas' is unknown; did you mean 'karras'", "schedule", "--schedule", "karas", "--sampler", "euler")]
    [InlineData(3, "there is no such folder", "run", "--model", "nowhere", "--input", "a", "--output", "b")]
    public void Bad_input_is_one_line_and_its_exit_code(int exit, string part, params string[] arguments)
    {
        var result = Run(arguments);
        Assert.Equal(exit, result.Exit);
        string line = Assert.Single(result.Error.Split('\n', StringSplitOptions.RemoveEmptyEntries), l => l.StartsWith("dcore: error: ", StringComparison.Ordinal));
        Assert.Contains(part, line);
        Assert.Equal("", result.Output);
        Assert.Empty(Directory.GetFileSystemEntries(folder));
    }

    [Fact]
    public void An_image_carries_its_parameters_and_an_existing_file_is_kept()
    {
        string[] arguments = ["generate", "--class", "bag", "--steps", "2", "--seed", "5", "-o", "bag.png"];
        var result = Run(arguments);
        Assert.Equal(0, result.Exit);
        Assert.Equal("bag.png\n", result.Output);
        byte[] file = File.ReadAllBytes(Path.Combine(folder, "bag.png"));
        var image = new StbCodec().Decode(file, "bag.png");
        Assert.Equal((32, 32, 1), (image.Width, image.Height, image.Channels));
        string text = Assert.Single(PngFile.ReadTexts(file, "bag.png"), t => t.Key == "parameters").Text;
        Assert.Contains("Steps: 2, Sampler: ddpm", text);
        Assert.Contains("Seed: 5", text);
        Assert.Contains("Class: bag", text);

        var again = Run(arguments);
        Assert.Equal(6, again.Exit);
        Assert.Contains("--force", again.Error);
        Assert.Equal(file, File.ReadAllBytes(Path.Combine(folder, "bag.png")));
        Assert.Equal(0, Run([.. arguments, "--force"]).Exit);
        Assert.Equal(file, File.ReadAllBytes(Path.Combine(folder, "bag.png")));
        Assert.Single(Directory.GetFiles(folder));
    }

    [Fact]
    public void Threads_batches_instruction_sets_and_company_change_no_byte()
    {
        foreach (string name in new[] { "one", "two", "narrow", "batched", "alone" }) Directory.CreateDirectory(Path.Combine(folder, name));
        string[] common = ["generate", "--class", "all", "--steps", "3", "--seed", "7"];
        Assert.Equal(0, Run([.. common, "--count", "4", "--threads", "1", "-o", "one/"]).Exit);
        Assert.Equal(0, Run([.. common, "--count", "4", "--threads", "2", "-o", "two/"]).Exit);
        Assert.Equal(0, Run([.. common, "--count", "4", "--batch", "3", "-o", "batched/"]).Exit);
        Assert.Equal(0, Run([.. common, "--count", "4", "-o", "narrow/"], ("DOTNET_EnableAVX512", "0")).Exit);
        Assert.Equal(0, Run("generate", "--class", "dress", "--steps", "3", "--seed", "10", "-o", "alone/").Exit);
        for (int seed = 7; seed < 11; seed++)
        {
            byte[] expected = File.ReadAllBytes(Path.Combine(folder, "one", $"dcore-{seed}.png"));
            foreach (string name in new[] { "two", "narrow", "batched" }) Assert.Equal(expected, File.ReadAllBytes(Path.Combine(folder, name, $"dcore-{seed}.png")));
        }

        Assert.Equal(File.ReadAllBytes(Path.Combine(folder, "one", "dcore-10.png")), File.ReadAllBytes(Path.Combine(folder, "alone", "dcore-10.png")));
    }

    [Fact]
    public void Json_is_one_document()
    {
        var result = Run("generate", "--steps", "2", "--seed", "3", "--count", "2", "--json");
        Assert.Equal(0, result.Exit);
        using var document = JsonDocument.Parse(result.Output);
        Assert.Equal(3, document.RootElement.GetProperty("seed").GetInt32());
        Assert.Equal(2, document.RootElement.GetProperty("images").GetArrayLength());
        Assert.All(document.RootElement.GetProperty("images").EnumerateArray(), i => Assert.True(File.Exists(i.GetProperty("file").GetString())));
        using var schedule = JsonDocument.Parse(Run("schedule", "--sampler", "heun", "--steps", "4", "--json").Output);
        Assert.Equal(7, schedule.RootElement.GetProperty("evaluations").GetArrayLength());
        using var plan = JsonDocument.Parse(Run("explain", "--json").Output);
        Assert.Equal(plan.RootElement.GetProperty("arena_bytes").GetInt64(), plan.RootElement.GetProperty("allocated_bytes").GetInt64());
    }

    [Fact]
    public void A_damaged_model_is_named_with_file_and_tensor()
    {
        string model = CopyModel();
        string weights = Path.Combine(model, "unet", "diffusion_pytorch_model.safetensors"), config = Path.Combine(model, "unet", "config.json");
        byte[] whole = File.ReadAllBytes(weights);

        File.WriteAllBytes(weights, whole[..(whole.Length / 2)]);
        Expect(3, "truncated", "generate", "--model", model, "-o", "x.png");

        File.WriteAllBytes(weights, [0x50, 0x4B, 3, 4, 0, 0, 0, 0, 0, 0]);
        Expect(3, "checkpoint", "generate", "--model", model, "-o", "x.png");

        File.WriteAllBytes(weights, whole);
        string text = File.ReadAllText(config);
        File.WriteAllText(config, text.Replace("\"in_channels\": 1", "\"in_channels\": 3", StringComparison.Ordinal));
        Expect(3, "unet.conv_in.weight: expected [32, 3, 3, 3], file has [32, 1, 3, 3]", "generate", "--model", model, "-o", "x.png");

        File.Delete(config);
        Expect(3, "config.json", "generate", "--model", model, "-o", "x.png");

        File.WriteAllText(config, text);
        using (var file = SafetensorsFile.Open(weights))
        {
            var entry = file.Tensors["conv_in.bias"];
            byte[] damaged = (byte[])whole.Clone();
            damaged[entry.Offset + 1] = 0x7E;             // an F16 NaN
            File.WriteAllBytes(weights, damaged);
        }

        Expect(3, "conv_in.bias: element 0", "generate", "--model", model, "--check-finite", "-o", "x.png");
        Expect(3, "is not finite", "generate", "--model", model, "--steps", "1", "-o", "x.png");
    }

    [Fact]
    public void An_interrupt_ends_within_a_step_and_leaves_no_half_file()
    {
        using var process = Start(["generate", "--count", "64", "--batch", "64", "--steps", "1000", "--seed", "1"]);
        string first = process.StandardError.ReadLine() ?? "";
        Assert.Contains("dcore", first);
        Thread.Sleep(1500);
        Assert.False(process.HasExited);
        using (var kill = Process.Start("kill", ["-INT", process.Id.ToString(System.Globalization.CultureInfo.InvariantCulture)])) kill.WaitForExit();
        Assert.True(process.WaitForExit(20_000), "still running");
        Assert.Equal(130, process.ExitCode);
        Assert.Empty(Directory.GetFiles(folder));
    }

    [Fact]
    public void The_bundled_model_is_found_from_any_folder_and_help_and_version_answer()
    {
        Assert.Contains("fashion-ddpm-32", Run("generate", "--steps", "1", "--seed", "1").Error);
        Assert.Contains("Usage", Run("generate", "--help").Output);
        Assert.Equal(0, Run("--version").Exit);
        Assert.Contains("conv_in.weight", Run("inspect", Path.Combine(AppContext.BaseDirectory, "weights", "fashion-ddpm-32")).Output);
        Assert.Contains("per core", Run("devices").Output);
    }

    [Fact]
    public void Devices_are_listed_and_auto_says_which_it_took()
    {
        var listed = Run("devices", "--json");
        Assert.Equal(0, listed.Exit);
        using var document = System.Text.Json.JsonDocument.Parse(listed.Output);
        var names = document.RootElement.GetProperty("devices").EnumerateArray().Select(d => d.GetProperty("name").GetString()!).ToArray();
        Assert.Equal("cpu", names[0]);
        Assert.Equal("ilgpu-cpu", names[^1]);
        var made = Run("generate", "--class", "bag", "--steps", "1", "--seed", "1", "-o", "x.png");
        Assert.Equal(0, made.Exit);
        Assert.Single(made.Error.Split('\n'), line => line.StartsWith("dcore: device ", StringComparison.Ordinal));
    }
}
