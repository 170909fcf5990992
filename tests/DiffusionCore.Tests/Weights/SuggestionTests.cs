namespace DiffusionCore.Tests.Weights;

public class SuggestionTests
{
    private static readonly string[] Samplers = ["ddim", "ddpm", "euler", "euler-a", "heun", "dpmpp-2m"];

    [Theory]
    [InlineData("eular", "euler")]
    [InlineData("EULER", "euler")]
    [InlineData("euler_a", "euler-a")]
    [InlineData("dpmpp2m", "dpmpp-2m")]
    [InlineData("dppm", "ddpm")]
    [InlineData("huen", "heun")]
    [InlineData("unipc-bh2", null)]
    [InlineData("", null)]
    public void The_nearest_name_within_a_few_edits(string given, string? expected) => Assert.Equal(expected, Suggestion.Nearest(given, Samplers));

    [Fact]
    public void A_very_long_name_is_not_compared() => Assert.Null(Suggestion.Nearest(new string('x', 100_000), [new string('x', 99_999)]));

    [Fact]
    public void The_hint_is_a_question_or_a_list()
    {
        Assert.Equal("; did you mean 'heun'?", Suggestion.Hint("hein", Samplers));
        Assert.Equal("; known: ddim, ddpm, euler, euler-a, heun, dpmpp-2m", Suggestion.Hint("something else", Samplers));
    }
}
