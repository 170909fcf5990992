namespace DiffusionCore.Runtime;

/// <summary>
/// What a matrix product does with a result before it is stored, in this order:
/// + per-image channel vector, activation, + residual, * scale. Bias belongs to the product itself.
/// </summary>
/// <param name="ChannelAdd">An operand broadcast over all but the first and last axis, such as a projected time embedding.</param>
/// <param name="Residual">An operand of the result's own shape.</param>
public readonly record struct EpilogueSpec(bool ChannelAdd, Activation Activation, bool Residual, float Scale)
{
    public static EpilogueSpec None => new(false, Activation.None, false, 1);

    public bool IsNone => this == None;

    /// <summary>Records the epilogue with unfused operations. Operands follow the product's own, channel vector before residual.</summary>
    internal Value Record(Graph g, Value y, ReadOnlySpan<Value> operands)
    {
        int next = 0;
        if (ChannelAdd) y = g.Add(new BinaryOp(Binary.Add), y, operands[next++]);
        if (Activation != Activation.None) y = g.Add(new UnaryOp(FunctionOf(Activation)), y);
        if (Residual) y = g.Add(new BinaryOp(Binary.Add), y, operands[next]);
        if (Scale != 1) y = g.Add(new AffineOp(Scale, 0), y);
        return y;
    }

    internal static Unary FunctionOf(Activation a) => a switch
    {
        Activation.Silu => Unary.Silu,
        Activation.Relu => Unary.Relu,
        Activation.Gelu => Unary.Gelu,
        Activation.GeluTanh => Unary.GeluTanh,
        Activation.QuickGelu => Unary.QuickGelu,
        Activation.Sigmoid => Unary.Sigmoid,
        Activation.Tanh => Unary.Tanh,
        _ => throw new ArgumentOutOfRangeException(nameof(a), a, "no function"),
    };

    public override string ToString() =>
        (ChannelAdd ? "+channel" : "") + (Activation == Activation.None ? "" : "+" + Activation.ToString().ToLowerInvariant())
        + (Residual ? "+residual" : "") + (Scale == 1 ? "" : "*scale");
}

/// <summary>A linear layer with an epilogue. Operands: x, W, [b], [channel vector], [residual].</summary>
public sealed record FusedLinearOp(LinearOp Core, EpilogueSpec Epilogue) : FusedOp
{
    public override string Name => "linear" + Epilogue;

    public override Value Unfused(Graph g, ReadOnlySpan<Value> x)
    {
        int own = Core.Bias ? 3 : 2;
        return Epilogue.Record(g, g.Add(Core, x[..own]), x[own..]);
    }
}

/// <summary>A convolution with an epilogue. Operands: x, W, [b], [channel vector], [residual].</summary>
public sealed record FusedConv2dOp(Conv2dOp Core, EpilogueSpec Epilogue) : FusedOp
{
    public override string Name => "conv2d" + Epilogue;

    public override Value Unfused(Graph g, ReadOnlySpan<Value> x)
    {
        int own = Core.Bias ? 3 : 2;
        return Epilogue.Record(g, g.Add(Core, x[..own]), x[own..]);
    }
}

/// <summary>
/// A convolution, with an epilogue or none, of a map enlarged by repeating every pixel <paramref name="Factor"/> times each way; the enlarged map is never
/// stored. Operands: x, W, [b], [channel vector], [residual].
/// </summary>
public sealed record UpsampledConv2dOp(Conv2dOp Core, EpilogueSpec Epilogue, int Factor) : FusedOp
{
    public override string Name => $"upsample{Factor}+conv2d" + Epilogue;

    public override Value Unfused(Graph g, ReadOnlySpan<Value> x)
    {
        int own = Core.Bias ? 3 : 2;
        var s = x[0].Shape;
        var large = g.Add(new UpsampleNearestOp((int)s[1] * Factor, (int)s[2] * Factor), x[0]);
        return Epilogue.Record(g, g.Add(Core, [large, .. x[1..own]]), x[own..]);
    }
}

/// <summary>
/// Group normalisation, then y*(1+scale)+shift with one vector per image where Modulated is set, then an activation.
/// Operands: x, [gamma, beta], [scale, shift].
/// </summary>
public sealed record FusedGroupNormOp(GroupNormOp Core, bool Modulated, Activation Activation) : FusedOp
{
    public override string Name => "group_norm" + (Modulated ? "+modulation" : "") + (Activation == Activation.None ? "" : "+" + Activation.ToString().ToLowerInvariant());

    public override Value Unfused(Graph g, ReadOnlySpan<Value> x)
    {
        int own = Core.Affine ? 3 : 1;
        var y = g.Add(Core, x[..own]);
        if (Modulated)
        {
            y = g.Add(new BinaryOp(Binary.Mul), y, g.Add(new AffineOp(1, 1), x[own]));
            y = g.Add(new BinaryOp(Binary.Add), y, x[own + 1]);
        }

        return Activation == Activation.None ? y : g.Add(new UnaryOp(EpilogueSpec.FunctionOf(Activation)), y);
    }
}

/// <summary>A linear layer to 2H channels, then gated GELU; the 2H channels are never stored. Operands: x, W, [b]. y: [..., H].</summary>
public sealed record LinearGegluOp(LinearOp Core) : FusedOp
{
    public override string Name => "linear+geglu";

    public override Value Unfused(Graph g, ReadOnlySpan<Value> x) => g.Add(new GegluOp(), g.Add(Core, x));
}

/// <summary>Gated GELU (Shazeer 2020): the first half of the channels times the GELU of the second. x: [..., 2H], y: [..., H].</summary>
public sealed record GegluOp : FusedOp
{
    public override string Name => "geglu";

    public override TensorType Infer(ReadOnlySpan<TensorType> x)
    {
        Operands(x, 1);
        Require(x[0].Shape.Rank >= 1 && x[0].Shape[-1] % 2 == 0, "an even number of channels is needed", x);
        return new TensorType(x[0].Shape.With(-1, x[0].Shape[-1] / 2), DType.F32);
    }

    public override Value Unfused(Graph g, ReadOnlySpan<Value> x)
    {
        var shape = x[0].Shape;
        long half = shape[-1] / 2;
        return g.Add(new BinaryOp(Binary.Mul), g.Slice(x[0], shape.Rank - 1, 0, half), g.Add(new UnaryOp(Unary.Gelu), g.Slice(x[0], shape.Rank - 1, half, half)));
    }
}
