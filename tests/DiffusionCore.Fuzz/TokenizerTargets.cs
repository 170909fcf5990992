using System.Text;
using DiffusionCore.Text;

namespace DiffusionCore.Fuzz;

/// <summary>A tokenizer's folder with one damaged file: what is accepted encodes text to ids of its vocabulary, and the same after the file was written again.</summary>
public abstract class TokenizerTarget : FolderTarget
{
    protected const string Vocabulary = """{"<|startoftext|>":0,"<|endoftext|>":1,"a":2,"b":3,"c":4,"a</w>":5,"b</w>":6,"c</w>":7,"ab":8,"ab</w>":9,"abc</w>":10,",</w>":11,"!":12,"\u00c3":13,"\u00a9</w>":14,"\u0120":15}""";
    protected const string Merges = "#version: 0.2\na b\na b</w>\nab c</w>\n\u00c3 \u00a9</w>\n";

    private static readonly string[] Texts = ["abc ab, a b!", "ABCABC caf\u00e9 \u732b <|endoftext|> a&amp;b", "", "\0\u200d\ud83d\udc08 1,2"];

    // Tables of 512 byte symbols, of the merges and of the tokens, each entry a few times the size of its text in the file.
    public override long AllocationLimit(byte[] input) => 200L * input.Length + (1 << 20);

    public override void RoundTrip(byte[] input, object parsed)
    {
        var tokenizer = (ClipTokenizer)parsed;
        string before = Encoded(tokenizer);
        Write(FileName, Rewritten(input));
        string after = Encoded((ClipTokenizer)Read());
        if (before != after) throw new RoundTripException($"{before} became {after}");
    }

    /// <summary>The same content, written by another hand.</summary>
    protected abstract byte[] Rewritten(byte[] input);

    protected override object Read() => ClipTokenizer.Load(Folder);

    private static string Encoded(ClipTokenizer tokenizer)
    {
        var text = new StringBuilder($"{tokenizer.Start} {tokenizer.End} {tokenizer.Pad} {tokenizer.MaximumLength} {tokenizer.VocabularySize}");
        foreach (string sample in Texts)
        {
            var ids = tokenizer.Encode(sample);
            if (ids.Exists(id => id < 0 || id >= tokenizer.VocabularySize)) throw new RoundTripException($"an id outside of the vocabulary of {tokenizer.VocabularySize}: {string.Join(' ', ids)}");
            text.Append($"; {string.Join(' ', ids)}");
        }

        return text.ToString();
    }
}

/// <summary>vocab.json.</summary>
public sealed class VocabularyTarget : TokenizerTarget
{
    private static readonly string[] Seeds = [Vocabulary, """{"<|startoftext|>": 49406, "<|endoftext|>": 49407, "a</w>": 320, "ab</w>": 596}""", """{"<|endoftext|>":0,"<|startoftext|>":0}"""];

    public override string Name => "vocab";

    protected override string FileName => "vocab.json";

    public override byte[] Make(Draw draw) => JsonMutator.Damage(draw.Of(Seeds), draw);

    protected override void Prepare() => Write("merges.txt", Merges);

    protected override byte[] Rewritten(byte[] input) => Reversed(input);
}

/// <summary>merges.txt.</summary>
public sealed class MergesTarget : TokenizerTarget
{
    private static readonly string[] Seeds = [Merges, "a b\nab c\r\nabc a</w>\n", "#version: 0.2\n\n\nb c</w>", ""];
    private static readonly string[] Lines = ["a b", "b a</w>", "ab ab", "a  b", " a b", "a b ", "ab", "", "#version: 1", "a\tb", "\u00a0 b", "\u732b c", "a b c", "</w> </w>"];

    public override string Name => "merges";

    protected override string FileName => "merges.txt";

    public override byte[] Make(Draw draw)
    {
        var lines = draw.Of(Seeds).Split('\n').ToList();
        for (int places = draw.Between(0, 2); places > 0; places--) lines.Insert(draw.Below(lines.Count + 1), draw.OneIn(3) ? lines[draw.Below(lines.Count)] : draw.Of(Lines));
        byte[] bytes = Encoding.UTF8.GetBytes(string.Join(draw.OneIn(5) ? "\r\n" : "\n", lines));
        return bytes.Length > 0 && draw.OneIn(2) ? ByteMutator.Damage(bytes, draw) : bytes;
    }

    protected override void Prepare() => Write("vocab.json", Vocabulary);

    protected override byte[] Rewritten(byte[] input) => Encoding.UTF8.GetBytes(string.Join("\r\n", File.ReadLines(Path.Combine(Folder, FileName), new UTF8Encoding(false, true))));
}

/// <summary>tokenizer_config.json.</summary>
public sealed class TokenizerConfigTarget : TokenizerTarget
{
    private static readonly string[] Seeds =
    [
        """{"bos_token":{"__type":"AddedToken","content":"<|startoftext|>","lstrip":false},"eos_token":"<|endoftext|>","pad_token":"!","unk_token":{"content":"<|endoftext|>"},"model_max_length":77,"tokenizer_class":"CLIPTokenizer"}""",
        """{"model_max_length":1000000000000000019884624838656,"pad_token":null,"unk_token":"a","do_lower_case":true,"errors":"replace"}""",
        "{}",
    ];

    public override string Name => "tokenizer-config";

    protected override string FileName => "tokenizer_config.json";

    public override byte[] Make(Draw draw) => JsonMutator.Damage(draw.Of(Seeds), draw);

    protected override void Prepare()
    {
        Write("vocab.json", Vocabulary);
        Write("merges.txt", Merges);
    }

    protected override byte[] Rewritten(byte[] input) => Reversed(input);
}

/// <summary>tokenizer.json, which holds vocabulary and merges.</summary>
public sealed class TokenizerFileTarget : TokenizerTarget
{
    private static readonly string[] Seeds =
    [
        $$$"""{"version":"1.0","added_tokens":[{"id":20,"content":"<|x|>","special":true}],"model":{"type":"BPE","unk_token":"<|endoftext|>","vocab":{{{Vocabulary}}},"merges":["a b","ab c</w>"]}}""",
        """{"model":{"type":"BPE","vocab":{"<|startoftext|>":0,"<|endoftext|>":1,"a":2,"ab":3},"merges":[["a","b"],["ab","c"]]},"added_tokens":[]}""",
    ];

    public override string Name => "tokenizer";

    protected override string FileName => "tokenizer.json";

    public override byte[] Make(Draw draw) => JsonMutator.Damage(draw.Of(Seeds), draw);

    protected override byte[] Rewritten(byte[] input) => Reversed(input);
}
