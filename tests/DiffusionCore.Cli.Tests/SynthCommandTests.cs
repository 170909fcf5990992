using System.Text.Json;

namespace DiffusionCore.Cli.Tests;

public sealed class SynthCommandTests : CliTestBase
{
    [Fact]
    public void A_model_is_written_and_can_be_inspected()
    {
        var made = Run("synth", "sd-tiny", "-o", "m", "--seed", "3", "--json");
        Assert.Equal(0, made.Exit);
        using var json = JsonDocument.Parse(made.Output);
        Assert.Equal(("sd-tiny", 3), (json.RootElement.GetProperty("preset").GetString(), json.RootElement.GetProperty("seed").GetInt32()));
        var seen = Run("inspect", "m");
        Assert.Equal(0, seen.Exit);
        foreach (var c in json.RootElement.GetProperty("components").EnumerateArray())
            Assert.Contains($"{c.GetProperty("tensors").GetInt32()} tensors", seen.Output, StringComparison.Ordinal);
        Expect(6, "exists already", "synth", "sd-tiny", "-o", "m");
    }

    [Theory]
    [InlineData(2, "did you mean 'sd15'", "synth", "sd1.5", "-o", "m")]
    [InlineData(2, "--dtype: 'f61' is unknown; did you mean 'f16'", "synth", "sd-tiny", "-o", "m", "--dtype", "f61")]
    [InlineData(2, "'--output' is required", "synth", "sd-tiny")]
    [InlineData(6, "does not exist", "synth", "sd-tiny", "-o", "no/m")]
    public void What_cannot_be_made_is_one_line_and_its_exit_code(int exit, string part, params string[] arguments) => Expect(exit, part, arguments);
}
