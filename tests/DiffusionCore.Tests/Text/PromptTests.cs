using System.Globalization;
using DiffusionCore.Runtime;
using DiffusionCore.Tests.Weights;
using DiffusionCore.Text;

namespace DiffusionCore.Tests.Text;

/// <summary>The prompt language, chunks, weights. Expected segments follow the examples that stable-diffusion-webui documents.</summary>
public sealed class PromptTests
{
    [Theory]
    [InlineData("normal text", "normal text*1")]
    [InlineData("an (important) word", "an *1|important*1.1| word*1")]
    [InlineData("(unbalanced", "unbalanced*1.1")]
    [InlineData(@"\(literal\]", "(literal]*1")]
    [InlineData("(unnecessary)(parens)", "unnecessaryparens*1.1")]
    [InlineData("a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).", "a *1|house*1.573|" + " *1.1|on*1| a *1.1|hill*0.55|, sun, *1.1|sky*1.4641|.*1.1")]
    [InlineData("", "*1")]
    [InlineData("((x))", "x*1.21")]
    [InlineData("[x]", "x*0.9090909")]
    [InlineData("(x:-0.5)", "x*-0.5")]
    [InlineData("(x : +2 )", "x *2")]
    [InlineData("(x:1.2.3)", "x:1.2.3*1.1")]
    [InlineData("(x:)", "x:*1.1")]
    [InlineData("x:1.3)", "x:1.3)*1")]
    [InlineData("a) b] c", "a) b] c*1")]
    [InlineData(@"a\\b \x", @"a\b x*1")]
    [InlineData(@"\", "*1")]
    [InlineData("a BREAK b", "a*1|BREAK|b*1")]
    [InlineData("(a BREAK b:2)c", "a*2|BREAK|b*2|c*1")]
    [InlineData("aBREAK BREAKs BREAK_", "aBREAK BREAKs BREAK_*1")]
    [InlineData("(x:0)", "x*0")]
    [InlineData("[a (b] c)", "a *0.9090909|b*1| c*1.1")]
    [InlineData("time 10:30 (a:b:1.5)", "time 10:30 *1|a:b*1.5")]
    public void Prompts_parse(string prompt, string expected)
    {
        string found = string.Join("|", PromptParser.Parse(prompt).Select(s => s.Break ? "BREAK" : string.Create(CultureInfo.InvariantCulture, $"{s.Text}*{s.Weight:G7}")));
        Assert.Equal(expected, found);
    }

    [Theory]
    [InlineData("(x:101)", "weight 101")]
    [InlineData("(x:999999999999999999999999999999999999999999999999999999999999999999999999)", "weight 1E+72")]
    public void Weights_out_of_range_are_refused(string prompt, string expected) =>
        Assert.Contains(expected, Assert.Throws<UsageException>(() => PromptParser.Parse(prompt)).Message, StringComparison.Ordinal);

    [Fact]
    public void Deep_brackets_are_refused_and_wide_ones_are_not()
    {
        Assert.Contains("more than 100 brackets", Assert.Throws<UsageException>(() => PromptParser.Parse(new string('(', 1_000_000))).Message, StringComparison.Ordinal);
        Assert.Single(PromptParser.Parse(new string(')', 100_000)));
        Assert.Equal(new PromptSegment(new string('a', 50_000), 1.1), Assert.Single(PromptParser.Parse(string.Concat(Enumerable.Repeat("(a)", 50_000)))));
    }

    [Fact]
    public void A_plain_prompt_is_taken_literally_padded_and_cut()
    {
        using var folder = new TemporaryFolder();
        var t = ClipTokenizerTests.Load(folder);
        var literal = PromptTokenizer.Encode(t, "(low:1.3)");
        Assert.Equal(["(</w>", "low</w>", ":</w>", "1</w>", ".</w>", "3</w>", ")</w>"], Assert.Single(literal.Chunks).Ids[1..8].Select(t.TokenOf));
        Assert.Equal((77, 8, t.End, t.Pad), (literal.Chunks[0].Ids.Length, literal.Chunks[0].End, literal.Chunks[0].Ids[8], literal.Chunks[0].Ids[76]));
        Assert.False(literal.Chunks[0].IsWeighted);
        Assert.Null(literal.Lost);

        var cut = PromptTokenizer.Encode(t, string.Concat(Enumerable.Repeat("x ", 75)) + "lost low");
        Assert.Equal((t.Start, t.End, 76), (cut.Chunks[0].Ids[0], cut.Chunks[0].Ids[76], cut.Chunks[0].End));
        Assert.Equal("lost low", cut.Lost);
        Assert.Null(PromptTokenizer.Encode(t, string.Concat(Enumerable.Repeat("x ", 75))).Lost);
    }

    [Fact]
    public void Weights_stand_beside_their_tokens()
    {
        using var folder = new TemporaryFolder();
        var t = ClipTokenizerTests.Load(folder);
        var chunk = Assert.Single(PromptTokenizer.Encode(t, "x (y y:1.5) [z]", PromptSyntax.Weighted).Chunks);
        Assert.Equal([1f, 1f, 1.5f, 1.5f, (float)(1 / 1.1), 1f, 1f], chunk.Weights[..7]);
        Assert.Equal(["x</w>", "y</w>", "y</w>", "z</w>"], chunk.Ids[1..5].Select(t.TokenOf));
        Assert.True(chunk.IsWeighted);
    }

    [Fact]
    public void Long_prompts_take_chunks_that_end_after_a_near_comma()
    {
        using var folder = new TemporaryFolder();
        var t = ClipTokenizerTests.Load(folder);
        string X(int n) => string.Concat(Enumerable.Repeat("x ", n));
        int[] Lengths(string prompt) => [.. PromptTokenizer.Encode(t, prompt, PromptSyntax.Weighted).Chunks.Select(c => c.End - 1)];

        Assert.Equal([75, 5], Lengths(X(80)));
        Assert.Equal([75], Lengths(X(75)));
        Assert.Equal([56, 24], Lengths(X(55) + ", " + X(24)));      // the comma is among the last 20
        Assert.Equal([75, 5], Lengths(X(54) + ", " + X(25)));       // one before: too far
        Assert.Equal([75, 5], Lengths(X(74) + ", " + X(5)));        // the comma is the last one
        Assert.Equal([75, 6], Lengths(X(75) + ", " + X(5)));        // a comma that does not fit goes with what follows
        Assert.Equal([1, 1], Lengths("x BREAK y BREAK"));
        Assert.Equal([1, 0, 1], Lengths("x BREAK BREAK y"));
        Assert.Equal([0], Lengths(""));
    }

    [Fact]
    public void Chunks_beyond_the_limit_are_reported_as_lost()
    {
        using var folder = new TemporaryFolder();
        var t = ClipTokenizerTests.Load(folder);
        var p = PromptTokenizer.Encode(t, string.Concat(Enumerable.Repeat("x ", 150)) + "low (er:1.2)", PromptSyntax.Weighted, maximumChunks: 2);
        Assert.Equal((2, 152, "low er"), (p.Chunks.Count, p.Tokens, p.Lost));
        var padded = PromptTokenizer.Encode(t, "x", PromptSyntax.Weighted).PadTo(3, t);
        Assert.Equal([2, 1, 1], padded.Chunks.Select(c => c.End));
        Assert.Throws<ArgumentOutOfRangeException>(() => padded.PadTo(2, t));
    }

    [Fact]
    public void An_end_token_in_the_text_is_where_pooling_stops()
    {
        using var folder = new TemporaryFolder();
        var t = ClipTokenizerTests.Load(folder);
        Assert.Equal(2, PromptTokenizer.Encode(t, "x <|endoftext|> y").Chunks[0].End);
    }

    [Fact]
    public void Weighted_states_keep_their_mean()
    {
        float[] hidden = [1, 2, 3, 4, 5, 7], weights = [1, 2, 1];
        var scaled = hidden.ToArray();
        PromptWeights.Apply(scaled, weights);
        const double Mean = 22.0 / 29.0;
        double[] expected = [1 * Mean, 2 * Mean, 6 * Mean, 8 * Mean, 5 * Mean, 7 * Mean];
        for (int i = 0; i < expected.Length; i++) Assert.Equal(expected[i], scaled[i], 1e-6);

        var same = hidden.ToArray();
        PromptWeights.Apply(same, [1, 1, 1]);
        Assert.Equal(hidden, same);
        Assert.Throws<UsageException>(() => PromptWeights.Apply(hidden.ToArray(), [0, 0, 0]));
    }
}
