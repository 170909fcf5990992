using System.Text.Json;
using DiffusionCore.Text;

namespace DiffusionCore.Tests.Text;

/// <summary>CLIP's own tokenizer on its own vocabulary: every string, every id.</summary>
public sealed class ClipConformanceTests
{
    private const string Folder = "clip-tokenizer";

    private static readonly Lazy<ClipTokenizer> Tokenizer = new(() => ClipTokenizer.Load(ConformanceData.PathOf(Folder)));
    private static readonly Lazy<JsonElement[]> All = new(() => Cases());

    public static TheoryData<int, string> Names()
    {
        var data = new TheoryData<int, string>();
        if (ConformanceData.Folder is null) data.Add(-1, "none");
        else
            for (int i = 0; i < All.Value.Length; i++) data.Add(i, All.Value[i].GetProperty("group").GetString()!);
        return data;
    }

    [ConformanceTheory]
    [MemberData(nameof(Names))]
    public void Ids_are_the_peers(int number, string group)
    {
        var c = All.Value[number];
        Assert.Equal(group, c.GetProperty("group").GetString());
        int[] expected = [.. c.GetProperty("ids").EnumerateArray().Select(e => e.GetInt32())];
        var tokenizer = Tokenizer.Value;
        int[] found = [tokenizer.Start, .. tokenizer.Encode(c.GetProperty("text").GetString()!), tokenizer.End];
        Assert.Equal(expected, found);
    }

    [ConformanceTheory]
    [MemberData(nameof(Names))]
    public void Decoded_text_is_the_peers(int number, string group)
    {
        var c = All.Value[number];
        Assert.Equal(group, c.GetProperty("group").GetString());
        string expected = c.GetProperty("decoded").GetString()!.Replace("<|startoftext|>", "", StringComparison.Ordinal).Replace("<|endoftext|>", "", StringComparison.Ordinal).TrimEnd(' ');
        Assert.Equal(expected, Tokenizer.Value.Decode(c.GetProperty("ids").EnumerateArray().Select(e => e.GetInt32())));
    }

    [ConformanceFact]
    public void The_vocabulary_has_49408_tokens_and_ends_with_the_special_ones()
    {
        var tokenizer = Tokenizer.Value;
        Assert.Equal(49408, tokenizer.VocabularySize);
        Assert.Equal((49406, 49407, 49407, 77), (tokenizer.Start, tokenizer.End, tokenizer.Pad, tokenizer.MaximumLength));
        Assert.True(All.Value.Length >= 300, "the strings of the conformance data are missing");
    }

    private static JsonElement[] Cases()
    {
        using var document = JsonDocument.Parse(File.ReadAllBytes(ConformanceData.PathOf(Folder, "cases.json")));
        return [.. document.RootElement.GetProperty("cases").EnumerateArray().Select(e => e.Clone())];
    }
}
