using System.Runtime.InteropServices;

namespace DiffusionCore.Text;

/// <summary>Prompts into chunks of ids. Nothing is lost silently: what found no room is named.</summary>
public static class PromptTokenizer
{
    /// <summary>Chunks that a long prompt may take unless a caller says otherwise.</summary>
    public const int DefaultChunks = 16;

    // A chunk rather ends after a comma among its last tokens than inside a phrase (stable-diffusion-webui's default).
    private const int CommaReach = 20;

    /// <param name="maximumChunks">For <see cref="PromptSyntax.Weighted"/>; a plain prompt is one chunk.</param>
    /// <exception cref="Runtime.UsageException">The prompt is too long to be read, or its brackets are not sensible.</exception>
    public static TokenizedPrompt Encode(ClipTokenizer tokenizer, string prompt, PromptSyntax syntax = PromptSyntax.Plain, int maximumChunks = DefaultChunks)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(maximumChunks, 1);
        return syntax == PromptSyntax.Plain ? Plain(tokenizer, prompt) : Weighted(tokenizer, prompt, maximumChunks);
    }

    private static TokenizedPrompt Plain(ClipTokenizer tokenizer, string prompt)
    {
        var ids = tokenizer.Encode(prompt);
        int room = tokenizer.MaximumLength - 2, used = Math.Min(room, ids.Count);
        var weights = new float[used];
        weights.AsSpan().Fill(1);
        var chunk = Chunk(tokenizer, CollectionsMarshal.AsSpan(ids)[..used], weights);
        return new TokenizedPrompt([chunk], ids.Count, used < ids.Count ? tokenizer.Decode(ids.Skip(used)) : null);
    }

    private static TokenizedPrompt Weighted(ClipTokenizer tokenizer, string prompt, int maximumChunks)
    {
        if (prompt.Length > ClipTokenizer.MaximumCharacters) tokenizer.Encode(prompt);
        int room = tokenizer.MaximumLength - 2;
        var chunks = new List<PromptChunk>();
        List<int> ids = [], lost = [];
        List<float> weights = [];
        int tokens = 0, comma = 0;
        foreach (var segment in PromptParser.Parse(prompt))
        {
            if (segment.Break)
            {
                Finish();
                continue;
            }

            foreach (int id in tokenizer.Encode(segment.Text))
            {
                tokens++;
                bool separates = id == tokenizer.Comma;
                if (ids.Count == room) Finish(!separates && comma > 0 && room - comma < CommaReach ? comma : room);
                else if (separates) comma = ids.Count + 1;
                ids.Add(id);
                weights.Add((float)segment.Weight);
            }
        }

        if (ids.Count > 0 || chunks.Count == 0) Finish();
        return new TokenizedPrompt(chunks, tokens, lost.Count > 0 ? tokenizer.Decode(lost) : null);

        // What stands behind the cut moves to the next chunk.
        void Finish(int cut = int.MaxValue)
        {
            cut = Math.Min(cut, ids.Count);
            if (chunks.Count < maximumChunks) chunks.Add(Chunk(tokenizer, CollectionsMarshal.AsSpan(ids)[..cut], CollectionsMarshal.AsSpan(weights)[..cut]));
            else lost.AddRange(ids.Take(cut));
            ids.RemoveRange(0, cut);
            weights.RemoveRange(0, cut);
            comma = 0;
        }
    }

    internal static PromptChunk Chunk(ClipTokenizer tokenizer, ReadOnlySpan<int> text, ReadOnlySpan<float> textWeights)
    {
        var ids = new int[tokenizer.MaximumLength];
        var weights = new float[ids.Length];
        ids.AsSpan().Fill(tokenizer.Pad);
        weights.AsSpan().Fill(1);
        ids[0] = tokenizer.Start;
        text.CopyTo(ids.AsSpan(1));
        textWeights.CopyTo(weights.AsSpan(1));
        ids[text.Length + 1] = tokenizer.End;
        return new PromptChunk(ids, weights, Array.IndexOf(ids, tokenizer.End));
    }
}
