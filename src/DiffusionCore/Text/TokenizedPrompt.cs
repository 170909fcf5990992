namespace DiffusionCore.Text;

/// <summary>One pass of the text encoder.</summary>
/// <param name="Ids">Start, text, end, padding: as many as the encoder has positions.</param>
/// <param name="Weights">One for each id; start, end and padding weigh 1.</param>
/// <param name="End">Place of the first end token: where pooled outputs are taken.</param>
public sealed record PromptChunk(int[] Ids, float[] Weights, int End)
{
    public bool IsWeighted => Weights.AsSpan().ContainsAnyExcept(1f);
}

/// <summary>A prompt as a text encoder takes it.</summary>
/// <param name="Chunks">At least one; their outputs follow each other in the context.</param>
/// <param name="Tokens">Tokens of the whole text, without start and end.</param>
/// <param name="Lost">The text that found no room; null where all of it did.</param>
public sealed record TokenizedPrompt(IReadOnlyList<PromptChunk> Chunks, int Tokens, string? Lost)
{
    /// <summary>The same with empty chunks after it, so that two prompts share one context length.</summary>
    public TokenizedPrompt PadTo(int chunks, ClipTokenizer tokenizer)
    {
        if (chunks < Chunks.Count) throw new ArgumentOutOfRangeException(nameof(chunks), chunks, $"the prompt has {Chunks.Count} chunks");
        return this with { Chunks = [.. Chunks, .. Enumerable.Range(0, chunks - Chunks.Count).Select(_ => PromptTokenizer.Chunk(tokenizer, [], []))] };
    }
}
