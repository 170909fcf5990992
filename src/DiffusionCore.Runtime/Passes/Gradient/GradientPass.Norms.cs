namespace DiffusionCore.Runtime.Passes;

/// <content>Normalisations and softmax.</content>
public static partial class GradientPass
{
    // y (dy - sum of y dy).
    private static Value Softmax(Rule r)
    {
        var g = r.G;
        return g.Times(r.Y, g.Binary(Binary.Sub, r.Dy, SumLast(g, g.Times(r.Y, r.Dy))));
    }

    private static Value?[] GroupNorm(Rule r, GroupNormOp op)
    {
        var g = r.G;
        var parts = new Value?[r.Node.Inputs.Length];
        var gradient = new GroupNormGradientOp(op.Groups, op.Epsilon, op.Affine);
        if (r.Wants(0)) parts[0] = op.Affine ? g.Add(gradient, r.X(0), r.Dy, r.X(1)) : g.Add(gradient, r.X(0), r.Dy);
        if (op.Affine && r.Wants(1)) parts[1] = ReduceTo(g, g.Times(r.Dy, g.Add(new GroupNormOp(op.Groups, op.Epsilon, false), r.X(0))), r.X(1).Shape);
        if (op.Affine && r.Wants(2)) parts[2] = ReduceTo(g, r.Dy, r.X(2).Shape);
        return parts;
    }

    // One group per row.
    private static Value?[] LayerNorm(Rule r, LayerNormOp op)
    {
        var g = r.G;
        var x = r.X(0);
        long channels = x.Shape[-1], rows = x.Shape.Count / channels;
        var parts = new Value?[r.Node.Inputs.Length];
        if (r.Wants(0))
        {
            Value flat = g.Reshape(x, rows, channels), dy = g.Reshape(r.Dy, rows, channels);
            var gradient = new GroupNormGradientOp(1, op.Epsilon, op.Affine);
            parts[0] = g.Reshape(op.Affine ? g.Add(gradient, flat, dy, r.X(1)) : g.Add(gradient, flat, dy), x.Shape.ToArray());
        }

        if (op.Affine && r.Wants(1)) parts[1] = ReduceTo(g, g.Times(r.Dy, g.Add(new LayerNormOp(op.Epsilon, false), x)), r.X(1).Shape);
        if (op.Affine && r.Wants(2)) parts[2] = ReduceTo(g, r.Dy, r.X(2).Shape);
        return parts;
    }

    // y = x/root * gamma: dx = dz/root - x * mean(x dz)/(root^2 s), s = sqrt(mean x^2), or root itself where epsilon lies inside; dz = dy gamma.
    private static Value?[] RmsNorm(Rule r, RmsNormOp op)
    {
        var g = r.G;
        var x = r.X(0);
        var parts = new Value?[r.Node.Inputs.Length];
        double share = 1.0 / x.Shape[-1];
        if (r.Wants(0))
        {
            var dz = op.Affine ? g.Times(r.Dy, r.X(1)) : r.Dy;
            var square = g.Affine(SumLast(g, g.Unary(Unary.Square, x)), share, op.Outside ? 0 : op.Epsilon);
            var s = g.Unary(Unary.Sqrt, square);
            var root = op.Outside ? g.Affine(s, 1, op.Epsilon) : s;
            var dot = g.Affine(SumLast(g, g.Times(x, dz)), share);
            var along = g.Binary(Binary.Div, dot, g.Times(g.Unary(Unary.Square, root), op.Outside ? g.Affine(s, 1, Tiny) : s));
            parts[0] = g.Binary(Binary.Sub, g.Binary(Binary.Div, dz, root), g.Times(x, along));
        }

        if (op.Affine && r.Wants(1)) parts[1] = ReduceTo(g, g.Times(r.Dy, g.Add(new RmsNormOp(op.Epsilon, false, op.Outside), x)), r.X(1).Shape);
        return parts;
    }
}
