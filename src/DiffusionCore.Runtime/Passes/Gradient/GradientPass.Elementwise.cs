namespace DiffusionCore.Runtime.Passes;

/// <content>Functions of one and of two numbers, and what only moves elements.</content>
public static partial class GradientPass
{
    // Far below any number that a float activation has, and far above the least: x/(|x| + Tiny) is exactly the sign.
    private const double Tiny = 1e-30;

    // f'(x), from the operand or from the result where that is cheaper.
    private static Value Derivative(Rule r, Unary function)
    {
        var g = r.G;
        Value x = r.X(0), y = r.Y;
        switch (function)
        {
            case Unary.Silu:
                {
                    // s + y (1 - s) with s the sigmoid.
                    var s = g.Unary(Unary.Sigmoid, x);
                    return g.Plus(s, g.Times(y, g.Affine(s, -1, 1)));
                }

            case Unary.Relu: return Step(g, x);
            case Unary.Gelu:
                {
                    var density = g.Affine(g.Unary(Unary.Exp, g.Affine(g.Unary(Unary.Square, x), -0.5)), 1 / Math.Sqrt(2 * Math.PI));
                    return g.Plus(g.Affine(g.Unary(Unary.Erf, g.Affine(x, 1 / Math.Sqrt(2))), 0.5, 0.5), g.Times(x, density));
                }

            case Unary.GeluTanh:
                {
                    double a = Math.Sqrt(2 / Math.PI), b = 0.044715;
                    var square = g.Unary(Unary.Square, x);
                    var t = g.Unary(Unary.Tanh, g.Times(x, g.Affine(square, a * b, a)));
                    var inner = g.Times(g.Affine(g.Unary(Unary.Square, t), -1, 1), g.Affine(square, 3 * a * b, a));
                    return g.Plus(g.Affine(t, 0.5, 0.5), g.Affine(g.Times(x, inner), 0.5));
                }

            case Unary.QuickGelu:
                {
                    const double Slope = 1.702;
                    var s = g.Unary(Unary.Sigmoid, g.Affine(x, Slope));
                    return g.Plus(s, g.Affine(g.Times(y, g.Affine(s, -1, 1)), Slope));
                }

            case Unary.Sigmoid: return g.Times(y, g.Affine(y, -1, 1));
            case Unary.Tanh: return g.Affine(g.Unary(Unary.Square, y), -1, 1);
            case Unary.Exp: return y;
            case Unary.Log: return g.Unary(Unary.Reciprocal, x);
            case Unary.Sin: return g.Unary(Unary.Cos, x);
            case Unary.Cos: return g.Unary(Unary.Neg, g.Unary(Unary.Sin, x));
            case Unary.Sqrt: return g.Affine(g.Unary(Unary.Reciprocal, y), 0.5);
            case Unary.Neg: return g.Expand(g.Constant([-1], new Shape(1)), x.Shape);
            case Unary.Abs: return g.Binary(Binary.Div, x, g.Affine(y, 1, Tiny));
            case Unary.Erf: return g.Affine(g.Unary(Unary.Exp, g.Unary(Unary.Neg, g.Unary(Unary.Square, x))), 2 / Math.Sqrt(Math.PI));
            case Unary.Reciprocal: return g.Unary(Unary.Neg, g.Unary(Unary.Square, y));
            case Unary.Softplus: return g.Unary(Unary.Sigmoid, x);
            case Unary.Square: return g.Affine(x, 2);
            default: throw new GradientException(r.Node, $"{function} has no rule");
        }
    }

    // 1 above zero, else 0.
    private static Value Step(Graph g, Value x) => g.Binary(Binary.Div, g.Unary(Unary.Relu, x), g.Affine(g.Unary(Unary.Abs, x), 1, Tiny));

    private static Value?[] Combined(Rule r, Binary function)
    {
        var g = r.G;
        Value a = r.X(0), b = r.X(1), dy = r.Dy;
        Func<Value>[] parts = function switch
        {
            Binary.Add => [() => dy, () => dy],
            Binary.Sub => [() => dy, () => g.Unary(Unary.Neg, dy)],
            Binary.Mul => [() => g.Times(dy, b), () => g.Times(dy, a)],
            Binary.Div => [() => g.Binary(Binary.Div, dy, b), () => g.Unary(Unary.Neg, g.Binary(Binary.Div, g.Times(dy, r.Y), b))],
            // Where both are equal the second has it.
            Binary.Max => [() => g.Times(dy, Step(g, g.Binary(Binary.Sub, a, b))), () => g.Times(dy, g.Affine(Step(g, g.Binary(Binary.Sub, a, b)), -1, 1))],
            Binary.Min => [() => g.Times(dy, Step(g, g.Binary(Binary.Sub, b, a))), () => g.Times(dy, g.Affine(Step(g, g.Binary(Binary.Sub, b, a)), -1, 1))],
            Binary.Pow => [() => g.Times(dy, g.Times(b, g.Binary(Binary.Pow, a, g.Affine(b, 1, -1)))), () => g.Times(dy, g.Times(r.Y, g.Unary(Unary.Log, a)))],
            _ => throw new GradientException(r.Node, $"{function} has no rule"),
        };
        return [r.Wants(0) ? ReduceTo(g, parts[0](), a.Shape) : null, r.Wants(1) ? ReduceTo(g, parts[1](), b.Shape) : null];
    }

    private static Value Transposed(Rule r, TransposeOp op)
    {
        var back = new int[op.Axes.Count];
        for (int a = 0; a < back.Length; a++) back[op.Axes[a]] = a;
        return r.G.Transpose(r.Dy, back);
    }

    private static Value?[] Parted(Rule r, ConcatOp op)
    {
        var parts = new Value?[r.Node.Inputs.Length];
        long at = 0;
        for (int i = 0; i < parts.Length; i++)
        {
            long count = r.X(i).Shape[op.Axis];
            if (r.Wants(i)) parts[i] = r.G.Slice(r.Dy, op.Axis, at, count);
            at += count;
        }

        return parts;
    }

    // Zeros where nothing was taken: steps are undone by zeros between, then the border is padded.
    private static Value Scattered(Rule r, SliceOp op)
    {
        var g = r.G;
        var dy = r.Dy;
        var x = r.X(0).Shape;
        int rank = x.Rank;
        for (int a = 0; a < rank; a++)
        {
            long step = op.Step[a], count = op.Count[a];
            if (step < 0)
            {
                var (starts, steps) = (new long[rank], new long[rank]);
                Array.Fill(steps, 1);
                (starts[a], steps[a]) = (count - 1, -1);
                dy = g.Add(new SliceOp(new(starts), new(steps), new(dy.Shape.ToArray())), dy);
            }

            step = Math.Abs(step);
            if (step == 1 || count < 2) continue;
            long outer = 1, inner = 1;
            for (int k = 0; k < a; k++) outer *= dy.Shape[k];
            for (int k = a + 1; k < rank; k++) inner *= dy.Shape[k];
            var wide = g.Add(new PadOp([0, 0, 0, 0], [0, 0, step - 1, 0]), g.Reshape(dy, outer, count, 1, inner));
            var all = g.Reshape(wide, dy.Shape.With(a, count * step).ToArray());
            dy = g.Slice(all, a, 0, (count - 1) * step + 1);
        }

        long[] before = new long[rank], after = new long[rank];
        for (int a = 0; a < rank; a++)
        {
            before[a] = op.Step[a] < 0 ? op.Start[a] + (op.Count[a] - 1) * op.Step[a] : op.Start[a];
            after[a] = x[a] - before[a] - dy.Shape[a];
        }

        return before.Concat(after).All(v => v == 0) ? dy : g.Add(new PadOp(new(before), new(after)), dy);
    }

    private static Value Trimmed(Rule r, PadOp op)
    {
        var x = r.X(0).Shape;
        var steps = new long[x.Rank];
        Array.Fill(steps, 1);
        return r.G.Add(new SliceOp(op.Before, new(steps), new(x.ToArray())), r.Dy);
    }
}
