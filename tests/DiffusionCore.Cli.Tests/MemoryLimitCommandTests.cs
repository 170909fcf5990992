using System.Globalization;
using System.Text.Json;
using System.Text.RegularExpressions;

namespace DiffusionCore.Cli.Tests;

/// <summary>--memory-limit, from the outside.</summary>
public sealed partial class MemoryLimitCommandTests : CliTestBase
{
    private string[] Lighthouse => ["generate", "--model", Path.Combine(folder, "m"), "--prompt", "a lighthouse", "--steps", "1", "--sampler", "ddim", "--size", "32x32", "--seed", "1", "--device", "cpu", "--threads", "2", "-o", "x.png"];

    [Fact]
    public void A_text_model_in_a_tiny_limit_is_refused_with_the_sizes_and_leaves_nothing()
    {
        Assert.Equal(0, Run("synth", "sd-tiny", "-o", "m").Exit);
        var result = Run([.. Lighthouse, "--memory-limit", "2MB"]);
        Assert.Equal(5, result.Exit);
        string line = Assert.Single(result.Error.Split('\n', StringSplitOptions.RemoveEmptyEntries), l => l.StartsWith("dcore: error: ", StringComparison.Ordinal));
        Assert.Matches(@"need [\d.]+ MB beside at least [\d.]+ MB of their [\d.]+ MB of weights and \d+ MB for the program itself, the limit is 2\.00 MB; .*--memory-limit", line);
        Assert.Equal(["m"], Directory.GetFileSystemEntries(folder).Select(Path.GetFileName));
    }

    [Fact]
    public void A_limit_below_the_weights_streams_them_says_so_and_changes_no_byte()
    {
        // 24 MB of weights in the denoiser: more than the program's own size varies by between two runs.
        Assert.Equal(0, Run("synth", "sdxl-tiny", "--dtype", "f32", "-o", "m").Exit);
        var whole = Run([.. Lighthouse, "--json"]);
        Assert.Equal(0, whole.Exit);
        using (var json = JsonDocument.Parse(whole.Output)) Assert.InRange(json.RootElement.GetProperty("load_seconds").GetDouble(), 0.001, json.RootElement.GetProperty("seconds").GetDouble() + 60);
        Assert.DoesNotContain("read from disk", whole.Error, StringComparison.Ordinal);
        byte[] expected = File.ReadAllBytes(Path.Combine(folder, "x.png"));

        // What the program takes by itself is in the message of a limit that is far too small.
        var match = ProgramSize().Match(Run([.. Lighthouse, "--force", "--memory-limit", "1MB"]).Error);
        long program = long.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture);
        var streamed = Run([.. Lighthouse, "--force", "--memory-limit", $"{program + 16}MB"]);
        Assert.True(streamed.Exit == 0, streamed.Error);
        Assert.Contains("read from disk whenever they are needed", streamed.Error, StringComparison.Ordinal);
        Assert.Equal(expected, File.ReadAllBytes(Path.Combine(folder, "x.png")));
    }

    [GeneratedRegex(@"(\d+) MB for the program itself")]
    private static partial Regex ProgramSize();
}
