using DiffusionCore.Runtime;
using DiffusionCore.Tests.Weights;
using DiffusionCore.Text;

namespace DiffusionCore.Tests.Text;

/// <summary>Pieces of words, by the rules of BERT's own tokenizer for lower-cased text.</summary>
public sealed class BertTokenizerTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    private BertTokenizer Load(params string[] more)
    {
        File.WriteAllText(folder["vocab.txt"], string.Join("\n", ["[PAD]", "[UNK]", "[CLS]", "[SEP]", .. more]) + "\n");
        return BertTokenizer.Load(folder.Path);
    }

    [Fact]
    public void The_longest_piece_from_the_left_is_taken()
    {
        // [CLS] un ##aff ##able [SEP] [PAD]
        var t = Load("un", "##aff", "##able", "##a", "##b");
        Assert.Equal([2, 4, 5, 6, 3, 0], t.Encode("unaffable", 6).Ids);
        Assert.Equal(9, t.VocabularySize);
    }

    [Fact]
    public void A_word_without_pieces_is_unknown_as_a_whole() => Assert.Equal([2, 1, 4, 3], Load("cat", "##x").Encode("catz cat", 4).Ids);

    [Theory]
    [InlineData("Hello, World!", "hello|,|world|!")]
    [InlineData("  tab\tand\nline ", "tab|and|line")]
    [InlineData("Café déjà-vu", "cafe|deja|-|vu")]
    [InlineData("cost $5+tax", "cost|$|5|+|tax")]
    [InlineData("犬と猫", "犬|と|猫")]
    [InlineData("naïve\u0301", "naive")]
    [InlineData("a\u0000b\uFFFDc\u200Bd", "abcd")]
    [InlineData("don\u2019t", "don|\u2019|t")]
    public void Words_are_cut_lower_case_and_without_accents(string text, string words) => Assert.Equal(words.Split('|'), BertTokenizer.Words(text));

    [Fact]
    public void Hangul_comes_apart_into_its_letters() => Assert.Equal(["\u1112\u1161\u11AB"], BertTokenizer.Words("\uD55C"));

    [Fact]
    public void What_finds_no_room_is_cut_and_said()
    {
        var t = Load("a", "b", "c");
        var (ids, lost) = t.Encode("a b c", 4);
        Assert.Equal([2, 4, 5, 3], ids);
        Assert.Equal("c", lost);
        Assert.Null(t.Encode("a b", 4).Lost);
        Assert.Equal([2, 3, 0, 0], t.Encode("", 4).Ids);
    }

    [Fact]
    public void A_vocabulary_without_its_special_tokens_is_refused()
    {
        File.WriteAllText(folder["vocab.txt"], "[PAD]\n[UNK]\n[CLS]\n");
        Assert.Contains("[SEP]", Assert.Throws<ModelFileException>(() => BertTokenizer.Load(folder.Path)).Message, StringComparison.Ordinal);
    }
}
