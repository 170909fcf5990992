using System.Text.Json;
using DiffusionCore.Runtime;

namespace DiffusionCore.Tests.Runtime;

/// <summary>
/// Attention, and normalisation over the last axes. Left out of Attention: half floats, caps of the logits, lengths per batch entry, and causal
/// attention that goes on from a past.
/// </summary>
public partial class OnnxNodeTests
{
    private static string[] Tokens => ["Attention", "RMSNormalization"];

    private static string? ExcludedTokens(JsonElement c, string op)
    {
        if (op != "Attention") return null;
        var attributes = c.GetProperty("attributes");
        var inputs = c.GetProperty("inputs").EnumerateArray().ToArray();
        bool Given(int i) => inputs.Length > i && inputs[i].ValueKind != JsonValueKind.Null;
        if (attributes.TryGetProperty("softcap", out _)) return "cap";
        if (Given(6)) return "lengths";
        return Given(4) && attributes.TryGetProperty("is_causal", out var causal) && causal.GetInt32() == 1 ? "causal with a past" : null;
    }

    // y = norm over all axes from `axis` on: one axis after a reshape.
    private static Value NormalizedTail(JsonElement c, Graph g, Value x, Func<int, Shape, Value> weight, Numbers expected)
    {
        var attributes = c.GetProperty("attributes");
        int rank = x.Shape.Rank, axis = attributes.TryGetProperty("axis", out var a) ? a.GetInt32() : -1;
        if (axis < 0) axis += rank;
        float epsilon = attributes.TryGetProperty("epsilon", out var e) ? e.GetSingle() : 1e-5f;
        long tail = x.Shape.ToArray()[axis..].Aggregate(1L, (p, d) => p * d);
        var rows = g.Reshape(x, x.Shape.Count / tail, tail);
        var shape = new Shape(tail);
        var y = c.GetProperty("op").GetString() == "RMSNormalization"
            ? g.Add(new RmsNormOp(epsilon), rows, weight(1, shape))
            : g.Add(new LayerNormOp(epsilon), rows, weight(1, shape), weight(2, shape));
        return g.Reshape(y, expected.Shape.ToArray());
    }

    private static Value Attended(JsonElement c, Graph g, Numbers?[] t, Func<int, Value> input, Numbers expected)
    {
        var attributes = c.GetProperty("attributes");
        int Int(string name, int fallback) => attributes.TryGetProperty(name, out var e) ? e.GetInt32() : fallback;
        bool heads4 = t[0]!.Shape.Rank == 4;
        int heads = heads4 ? (int)t[0]!.Shape[1] : Int("q_num_heads", 1), keyHeads = heads4 ? (int)t[1]!.Shape[1] : Int("kv_num_heads", 1);
        Value q = Heads(input(0), heads), k = Past(Heads(input(1), keyHeads), 4), v = Past(Heads(input(2), keyHeads), 5);
        long batch = q.Shape[0], queries = q.Shape[2], keys = k.Shape[2];
        double scale = attributes.TryGetProperty("scale", out var s) ? s.GetDouble() : 1 / Math.Sqrt(q.Shape[3]);
        Value? mask = t.Length > 3 && t[3] is { } m ? g.Constant(Mask(m), new Shape([.. Enumerable.Repeat(1L, 4 - m.Shape.Rank), .. m.Shape.ToArray()])) : null;
        var y = g.Attention(Side(q, 1), Side(k, heads / keyHeads), Side(v, heads / keyHeads), heads, scale, Int("is_causal", 0) == 1, mask);
        if (!heads4) return g.Reshape(y, expected.Shape.ToArray());
        return g.Transpose(g.Reshape(y, batch, queries, heads, v.Shape[3]), 0, 2, 1, 3);

        // [B, T, H*D] to [B, H, T, D].
        Value Heads(Value x, int count) => heads4 ? x : g.Transpose(g.Reshape(x, x.Shape[0], x.Shape[1], count, x.Shape[2] / count), 0, 2, 1, 3);

        Value Past(Value x, int index) => t.Length > index && t[index] is not null ? g.Concat(2, input(index), x) : x;

        // [B, H, T, D] to [B, T, H*repeats*D]; each head of keys serves several of queries.
        Value Side(Value x, int repeats)
        {
            long n = x.Shape[0], h = x.Shape[1], length = x.Shape[2], d = x.Shape[3];
            if (repeats > 1) x = g.Reshape(g.Expand(g.Reshape(x, n, h, 1, length, d), new Shape(n, h, repeats, length, d)), n, h * repeats, length, d);
            return g.Reshape(g.Transpose(x, 0, 2, 1, 3), n, length, h * repeats * d);
        }

        static float[] Mask(Numbers m) => Array.ConvertAll(m.Values, v => m.Type == DType.Bool ? v == 0 ? float.NegativeInfinity : 0 : (float)v);
    }
}
