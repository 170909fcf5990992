namespace DiffusionCore.Runtime.Passes;

/// <content>Matrix products, convolutions and attention. Stored weights are turned when they are loaded, so that the way back runs on the kernels of the way there.</content>
public static partial class GradientPass
{
    private static Value?[] Linear(Rule r, LinearOp op)
    {
        var g = r.G;
        Value x = r.X(0), w = r.X(1), dy = r.Dy;
        long n = w.Shape[0], k = w.Shape[1], rows = dy.Shape.Count / n;
        var parts = new Value?[r.Node.Inputs.Length];
        if (r.Wants(0))
        {
            parts[0] = r.Stored(1) is { } source
                ? g.Linear(dy, g.Weight(new TurnedWeight(source)))
                : g.Reshape(g.MatMul(g.Reshape(dy, rows, n), g.Cast(w, DType.F32)), x.Shape.ToArray());
        }

        if (r.Wants(1)) parts[1] = g.MatMul(g.Transpose(g.Reshape(dy, rows, n), 1, 0), g.Reshape(x, rows, k));
        if (op.Bias && r.Wants(2)) parts[2] = ReduceTo(g, dy, r.X(2).Shape);
        return parts;
    }

    // With A and B the matrices as they are multiplied: dA = dY B^T, dB = A^T dY.
    private static Value?[] Product(Rule r, MatMulOp op)
    {
        var g = r.G;
        Value a = r.X(0), b = r.X(1), dy = r.Dy;
        Value? left = null, right = null;
        if (r.Wants(0))
        {
            var part = op.TransposeA ? g.MatMul(op.TransposeB ? Flip(g, b) : b, dy, transposeB: true) : g.MatMul(dy, b, transposeB: !op.TransposeB);
            left = ReduceTo(g, part, a.Shape);
        }

        if (r.Wants(1))
        {
            var part = op.TransposeB ? g.MatMul(Flip(g, dy), op.TransposeA ? Flip(g, a) : a) : g.MatMul(op.TransposeA ? a : Flip(g, a), dy);
            right = ReduceTo(g, part, b.Shape);
        }

        return [left, right];
    }

    // The last two axes change places.
    private static Value Flip(Graph g, Value v)
    {
        int[] axes = [.. Enumerable.Range(0, v.Shape.Rank)];
        (axes[^1], axes[^2]) = (axes[^2], axes[^1]);
        return g.Transpose(v, axes);
    }

    private static Value?[] Convolution(Rule r, Conv2dOp op)
    {
        var g = r.G;
        Shape x = r.X(0).Shape, w = r.X(1).Shape, y = r.Dy.Shape;
        var parts = new Value?[r.Node.Inputs.Length];
        if (r.Wants(0))
        {
            int reachH = op.DilationH * (int)(w[2] - 1), reachW = op.DilationW * (int)(w[3] - 1);
            bool inside = Math.Max(op.PadTop, op.PadBottom) <= reachH && Math.Max(op.PadLeft, op.PadRight) <= reachW;
            if (op is { StrideH: 1, StrideW: 1, Groups: 1 } && inside && r.Stored(1) is { } source)
            {
                // A convolution with the kernel turned by half a turn and inputs and outputs exchanged.
                parts[0] = g.Conv2d(
                    r.Dy, g.Weight(new TurnedWeight(source)), null,
                    new Conv2dOp(false, 1, 1, reachH - op.PadTop, reachW - op.PadLeft, reachH - op.PadBottom, reachW - op.PadRight, op.DilationH, op.DilationW));
            }
            else
            {
                int restH = Rest(x[1], y[1], op.StrideH, op.PadTop + op.PadBottom, reachH), restW = Rest(x[2], y[2], op.StrideW, op.PadLeft + op.PadRight, reachW);
                parts[0] = g.ConvTranspose2d(
                    r.Dy, r.X(1), null,
                    new ConvTranspose2dOp(false, op.StrideH, op.StrideW, op.PadTop, op.PadLeft, op.PadBottom, op.PadRight, restH, restW, op.DilationH, op.DilationW, op.Groups));
            }
        }

        if (op.Bias && r.Wants(2)) parts[2] = ReduceTo(g, r.Dy, r.X(2).Shape);
        return parts;

        // Rows at the far side that no window reached.
        static int Rest(long input, long output, int stride, int padding, int reach) => (int)(input - ((output - 1) * stride - padding + reach + 1));
    }

    private static Value?[] Transposed(Rule r, ConvTranspose2dOp op)
    {
        var g = r.G;
        var parts = new Value?[r.Node.Inputs.Length];
        if (r.Wants(0))
        {
            // Rows that were added below take back as many of those that the border cut off; beyond these the kernel does not reach.
            int bottom = op.PadBottom - op.OutputPadH, right = op.PadRight - op.OutputPadW;
            var dy = r.Dy;
            if (bottom < 0) dy = g.Slice(dy, 1, 0, dy.Shape[1] + bottom);
            if (right < 0) dy = g.Slice(dy, 2, 0, dy.Shape[2] + right);
            parts[0] = g.Conv2d(
                dy, r.X(1), null, new Conv2dOp(false, op.StrideH, op.StrideW, op.PadTop, op.PadLeft, Math.Max(bottom, 0), Math.Max(right, 0), op.DilationH, op.DilationW, op.Groups));
        }

        if (op.Bias && r.Wants(2)) parts[2] = ReduceTo(g, r.Dy, r.X(2).Shape);
        return parts;
    }

    // P = softmax(S), S = scale q k^T + mask; dV = P^T dY, dP = dY V^T, dS = P (dP - delta), delta = sum of dY*Y over channels (which is that of P*dP over keys).
    private static Value?[] Attention(Rule r, AttentionOp op)
    {
        var g = r.G;
        int heads = op.Heads;
        Value q = Heads(r.X(0)), k = Heads(r.X(1)), v = Heads(r.X(2)), dy = Heads(r.Dy);
        var s = g.Affine(g.MatMul(q, k, transposeB: true), op.Scale);
        if (op.Mask) s = g.Plus(s, r.X(3));
        if (op.Causal) s = g.Plus(s, Causal(g, q.Shape[2], k.Shape[2]));
        var p = g.Softmax(s);
        var parts = new Value?[r.Node.Inputs.Length];
        if (r.Wants(2)) parts[2] = Joined(g.MatMul(Flip(g, p), dy));
        if (!r.Wants(0) && !r.Wants(1) && !(op.Mask && r.Wants(3))) return parts;
        var delta = SumLast(g, Heads(g.Times(r.Dy, r.Y)));
        var ds = g.Times(p, g.Binary(Binary.Sub, g.MatMul(dy, v, transposeB: true), delta));
        if (r.Wants(0)) parts[0] = g.Affine(Joined(g.MatMul(ds, k)), op.Scale);
        if (r.Wants(1)) parts[1] = g.Affine(Joined(g.MatMul(Flip(g, ds), q)), op.Scale);
        if (op.Mask && r.Wants(3)) parts[3] = ReduceTo(g, ds, r.X(3).Shape);
        return parts;

        // [B, T, H*D] to [B, H, T, D] and back.
        Value Heads(Value t) => g.Transpose(g.Reshape(t, t.Shape[0], t.Shape[1], heads, t.Shape[2] / heads), 0, 2, 1, 3);

        Value Joined(Value t) => g.Reshape(g.Transpose(t, 0, 2, 1, 3), t.Shape[0], t.Shape[2], heads * t.Shape[3]);
    }

    private static Value Causal(Graph g, long queries, long keys)
    {
        var mask = new float[queries * keys];
        for (long i = 0; i < queries; i++)
            for (long j = i + 1; j < keys; j++) mask[i * keys + j] = float.NegativeInfinity;
        return g.Constant(mask, new Shape(queries, keys));
    }
}
