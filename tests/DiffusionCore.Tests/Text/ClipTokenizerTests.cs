using System.Diagnostics;
using System.Text;
using System.Text.Json;
using DiffusionCore.Runtime;
using DiffusionCore.Tests.Weights;
using DiffusionCore.Text;

namespace DiffusionCore.Tests.Text;

/// <summary>The tokenizer on vocabularies made by hand: files, special tokens, merges, hostile texts.</summary>
public sealed class ClipTokenizerTests
{
    // The bytes, the bytes that end a word, four merges, the special tokens: l o -> lo, lo w</w>, e r</w>, n ew... as in the peers' own small test.
    private static readonly (string Left, string Right)[] Merges = [("l", "o"), ("lo", "w</w>"), ("e", "r</w>"), ("a", "a")];

    [Fact]
    public void Merges_go_in_the_order_of_the_file()
    {
        using var folder = new TemporaryFolder();
        var t = Load(folder);
        Assert.Equal(["lo", "w", "er</w>", "n", "e", "w", "er</w>"], Tokens(t, "lower newer"));
        Assert.Equal(["low</w>"], Tokens(t, "LOW"));
        Assert.Equal(["aa", "a</w>"], Tokens(t, "aaa"));
        Assert.Equal(["aa", "aa", "a</w>"], Tokens(t, "aaaaa"));
    }

    [Fact]
    public void All_places_of_a_pair_merge_before_the_next_pair_is_chosen()
    {
        // A damaged order: "ab c" is ranked before "a b", and only reachable after it. The second place of "a b" still comes first.
        using var folder = new TemporaryFolder();
        var t = Load(folder, [("ab", "a"), ("a", "b")]);
        Assert.Equal(["ab", "ab", "x</w>"], Tokens(t, "ababx"));
    }

    [Fact]
    public void Words_are_letters_single_digits_and_the_rest()
    {
        using var folder = new TemporaryFolder();
        var t = Load(folder);
        Assert.Equal(["z</w>", "1</w>", "2</w>", "!", "!", "'</w>", "s</w>", "z</w>"], Tokens(t, "z12 !!'s z"));
        Assert.Equal(["t</w>", "!", "'</w>", "s</w>"], Tokens(t, "t!'s"));
    }

    [Theory]
    [InlineData("a\u0000b", "ab")]
    [InlineData("a\u001Bb\u0007", "ab")]
    [InlineData("a\tb\r\nc\u00A0\u2003d", "a b c d")]
    [InlineData("  \n ", "")]
    [InlineData("e\u0301", "é")]
    [InlineData("a\u0301\u0323", "ạ\u0301")]
    [InlineData("o\u0302\u0301", "ố")]
    [InlineData("\u1112\u1161\u11AB", "한")]
    [InlineData("か\u3099", "が")]
    [InlineData("q\u0301\u0301", "q\u0301\u0301")]
    [InlineData("\u0301a", "\u0301a")]
    [InlineData("ÀÉ Ω ÇA", "àé ω ça")]
    [InlineData("ΟΔΟΣ ΣΑΣ Σ", "οδος σας σ")]
    [InlineData("İ", "i\u0307")]
    [InlineData("a &amp;&#65;&#x42; &lt;b", "a &ab <b")]
    [InlineData("&amp;lt;", "<")]
    [InlineData("&amp no &ampersand &bogus; &; &#; &#x;", "& no &ersand &bogus; &; &#; &#x;")]
    [InlineData("&#0;&#xD800;&#x110000;&#99999999999;", "\uFFFD\uFFFD\uFFFD\uFFFD")]
    [InlineData("&#128;&#x92;&#1;&eacute;&Eacute&notit;", "€\u2019éé¬it;")]
    public void Texts_are_cleaned(string text, string expected) => Assert.Equal(expected, TextCleaning.Clean(text));

    [Fact]
    public void Half_a_surrogate_pair_is_a_replacement_character()
    {
        // Not as data of a theory: attributes are stored as UTF-8.
        Assert.Equal("\uFFFD", TextCleaning.Clean("\uD83D"));
        Assert.Equal("x\uFFFDy", TextCleaning.Clean("x\uDE00y"));
        Assert.Equal("\uFFFD\uFFFD\U0001F600", TextCleaning.Clean("\uDE00\uD83D\uD83D\uDE00"));
    }

    [Fact]
    public void The_padding_comes_from_the_configuration()
    {
        using var folder = new TemporaryFolder();
        var plain = Load(folder);
        Assert.Equal(plain.End, plain.Pad);
        folder.Write("special_tokens_map.json", """{"pad_token": "!", "eos_token": {"content": "<|endoftext|>", "lstrip": false}}""");
        Assert.Equal(0, ClipTokenizer.Load(folder.Path).Pad);
        folder.Write("tokenizer_config.json", """{"pad_token": "<|endoftext|>", "model_max_length": 20}""");
        var both = ClipTokenizer.Load(folder.Path);
        Assert.Equal((0, 20), (both.Pad, both.MaximumLength));
        folder.Write("tokenizer_config.json", """{"model_max_length": 1000000000000000019884624838656}""");
        Assert.Equal(77, ClipTokenizer.Load(folder.Path).MaximumLength);
    }

    [Fact]
    public void One_file_says_the_same_as_two()
    {
        using var folder = new TemporaryFolder();
        var two = Load(folder);
        using var other = new TemporaryFolder();
        var vocabulary = Vocabulary(Merges);
        string[] specials = ["<|startoftext|>", "<|endoftext|>"];
        foreach (bool arrays in new[] { false, true })
        {
            string merges = string.Join(",", Merges.Select(m => arrays ? JsonSerializer.Serialize(new[] { m.Left, m.Right }) : JsonSerializer.Serialize($"{m.Left} {m.Right}")));
            string vocab = string.Join(",", vocabulary.Where(v => !specials.Contains(v.Key)).Select(v => $"{JsonSerializer.Serialize(v.Key)}:{v.Value}"));
            string added = string.Join(",", specials.Select(s => $$"""{"id":{{vocabulary[s]}},"content":"{{s}}"}"""));
            other.Write("tokenizer.json", $$$"""{"added_tokens":[{{{added}}}],"model":{"type":"BPE","vocab":{ {{{vocab}}} },"merges":[{{{merges}}}]}}""");
            var one = ClipTokenizer.Load(other.Path);
            foreach (string text in new[] { "", "lower newer", "<|endoftext|> low", "é ü 漢 😀" }) Assert.Equal(two.Encode(text), one.Encode(text));
        }
    }

    [Theory]
    [InlineData("vocab.json", "[]", "expected a JSON object")]
    [InlineData("vocab.json", "{}", "empty vocabulary")]
    [InlineData("vocab.json", """{"a": -1}""", "expected an id from 0")]
    [InlineData("vocab.json", """{"a": "x"}""", "expected an id from 0")]
    [InlineData("vocab.json", """{"a": 0}""", "special token is not in the vocabulary")]
    [InlineData("merges.txt", "#version\nonly", "line 2: expected two tokens")]
    [InlineData("merges.txt", "a b c", "line 1: expected two tokens")]
    [InlineData("special_tokens_map.json", """{"pad_token": "[PAD]"}""", "special token is not in the vocabulary")]
    [InlineData("tokenizer_config.json", """{"bos_token": 5}""", "expected a string")]
    [InlineData("tokenizer_config.json", """{"model_max_length": 2}""", "expected room")]
    public void Bad_files_are_named(string file, string text, string expected)
    {
        using var folder = new TemporaryFolder();
        Write(folder, Merges);
        folder.Write(file, text);
        var e = Assert.Throws<ModelFileException>(() => ClipTokenizer.Load(folder.Path));
        Assert.Contains(expected, e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Missing_files_are_named()
    {
        using var folder = new TemporaryFolder();
        Assert.Contains("expected vocab.json", Assert.Throws<ModelFileException>(() => ClipTokenizer.Load(folder.Path)).Message, StringComparison.Ordinal);
        folder.Write("vocab.json", "{}");
        Assert.Contains("no merges.txt", Assert.Throws<ModelFileException>(() => ClipTokenizer.Load(folder.Path)).Message, StringComparison.Ordinal);
        Assert.Contains("no such tokenizer folder", Assert.Throws<ModelFileException>(() => ClipTokenizer.Load(folder["none"])).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_word_of_a_million_letters_ends_and_a_longer_prompt_is_refused()
    {
        using var folder = new TemporaryFolder();
        var t = Load(folder);
        var clock = Stopwatch.StartNew();
        Assert.Equal(500_001, t.Encode(new string('a', ClipTokenizer.MaximumCharacters)).Count);
        Assert.True(clock.Elapsed.TotalSeconds < 60, $"took {clock.Elapsed.TotalSeconds:F1} s");
        var e = Assert.Throws<UsageException>(() => t.Encode(new string('a', 10_000_000)));
        Assert.Contains("10000000 characters", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Any_text_decodes_to_its_cleaned_words()
    {
        using var folder = new TemporaryFolder();
        var t = Load(folder);
        var random = new Random(7);
        string alphabet = "abLO wer 019.,!'()<|é漢\U0001F600\u0301\n";
        for (int round = 0; round < 300; round++)
        {
            string text = string.Concat(Enumerable.Range(0, random.Next(40)).Select(_ => alphabet[random.Next(alphabet.Length)]));
            string decoded = t.Decode(t.Encode(text));
            Assert.Equal(TextCleaning.Clean(text).Replace(" ", "", StringComparison.Ordinal), decoded.Replace(" ", "", StringComparison.Ordinal));
            Assert.Equal(t.Encode(text), t.Encode(decoded));
        }
    }

    internal static ClipTokenizer Load(TemporaryFolder folder, (string, string)[]? merges = null)
    {
        Write(folder, merges ?? Merges);
        return ClipTokenizer.Load(folder.Path);
    }

    private static void Write(TemporaryFolder folder, (string Left, string Right)[] merges)
    {
        folder.Write("vocab.json", "{" + string.Join(",", Vocabulary(merges).Select(v => $"{JsonSerializer.Serialize(v.Key)}:{v.Value}")) + "}");
        folder.Write("merges.txt", "#version: 0.2\n" + string.Concat(merges.Select(m => $"{m.Left} {m.Right}\n")));
    }

    private static Dictionary<string, int> Vocabulary((string Left, string Right)[] merges)
    {
        var ids = new Dictionary<string, int>(StringComparer.Ordinal);
        foreach (string end in new[] { "", "</w>" })
            foreach (byte b in ByteSymbols.InOrder) ids.Add(ByteSymbols.Of(b) + end, ids.Count);
        foreach (var (left, right) in merges) ids.TryAdd(left + right, ids.Count);
        ids.Add("<|startoftext|>", ids.Count);
        ids.Add("<|endoftext|>", ids.Count);
        return ids;
    }

    private static string[] Tokens(ClipTokenizer t, string text) => [.. t.Encode(text).Select(t.TokenOf)];
}
