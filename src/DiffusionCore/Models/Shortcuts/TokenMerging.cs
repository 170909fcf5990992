using DiffusionCore.Runtime;

namespace DiffusionCore.Models;

/// <summary>
/// Self-attention on fewer tokens (Bolya and Hoffman 2023, "Token Merging for Fast Stable Diffusion").
/// <code>
/// tokens --to four phases--match--merge--attention--unmerge--back to the map's order--> y
/// </code>
/// Of every 2x2 cell of the map the first token is a target; the other three may be merged into the target that they are most alike to, by the cosine of
/// their vectors. Of all of them the most alike ones go, ratio * tokens in number. The paper draws the target of a cell; here it is always the first, so
/// that an image stays a function of its seed. What is compared is the input of the attention.
/// </summary>
internal static class TokenMerging
{
    private const float NormEpsilon = 1e-12f;

    /// <summary>A self-attention with its projections, on all tokens or, where the recording's guide says so, on merged ones.</summary>
    /// <param name="tokens">[N, height * width, C].</param>
    /// <param name="attention">[N, T, C] to [N, T, C'] for any T.</param>
    /// <param name="level">How often the map was halved; null to take it from the height.</param>
    /// <returns>[N, height * width, C'].</returns>
    public static Value Attend(Graph g, Value tokens, long height, long width, Func<Value, Value> attention, int? level = null)
    {
        if (NetworkCuts.Of(g) is not { Options.Merging: { } merging } cuts) return attention(tokens);
        int at = level ?? cuts.LevelOf(height);
        cuts.AttendedLevels.Add(at);
        long count = (long)(merging.Ratio * height * width);
        if (!merging.Levels.Contains(at) || count == 0) return attention(tokens);
        if (height % 2 != 0 || width % 2 != 0) throw new UsageException($"tome: level {at} has {width}x{height} tokens; merging goes by cells of 2x2, so use a --size whose level {at} is even");
        cuts.Merged++;
        var phases = ToPhases(g, tokens, height, width);
        long targets = height * width / 4;
        Value map;
        using (g.Layer("tome"))
        {
            var unit = g.Add(new RmsNormOp(NormEpsilon, Affine: false), phases);     // sqrt(C) times the unit vector: the order of the products is that of the cosines
            var alike = g.MatMul(g.Slice(unit, 1, targets, 3 * targets), g.Slice(unit, 1, 0, targets), transposeB: true);
            map = g.Add(new TokenMatchOp(count), alike);
            phases = g.Add(new TokenMergeOp(targets, count), phases, map);
        }

        var y = attention(phases);
        using (g.Layer("tome")) return FromPhases(g, g.Add(new TokenUnmergeOp(targets), y, map), height, width);
    }

    // [N, H*W, C] as [N, 4*(H/2*W/2), C]: first all tokens of even row and even column.
    private static Value ToPhases(Graph g, Value x, long height, long width)
    {
        long n = x.Shape[0], channels = x.Shape[2];
        return g.Reshape(g.Transpose(g.Reshape(x, n, height / 2, 2, width / 2, 2, channels), 0, 2, 4, 1, 3, 5), n, height * width, channels);
    }

    private static Value FromPhases(Graph g, Value x, long height, long width)
    {
        long n = x.Shape[0], channels = x.Shape[2];
        return g.Reshape(g.Transpose(g.Reshape(x, n, 2, 2, height / 2, width / 2, channels), 0, 3, 1, 4, 2, 5), n, height * width, channels);
    }
}
