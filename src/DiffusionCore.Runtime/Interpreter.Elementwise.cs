namespace DiffusionCore.Runtime;

public static partial class Interpreter
{
    /// <summary>A unary function in double precision.</summary>
    public static double Apply(Unary function, double v) => function switch
    {
        Unary.Silu => v / (1 + Math.Exp(-v)),
        Unary.Relu => Math.Max(v, 0),
        Unary.Gelu => 0.5 * v * (1 + Erf(v / Math.Sqrt(2))),
        Unary.GeluTanh => 0.5 * v * (1 + Math.Tanh(Math.Sqrt(2 / Math.PI) * (v + 0.044715 * v * v * v))),
        Unary.QuickGelu => v / (1 + Math.Exp(-1.702 * v)),
        Unary.Sigmoid => 1 / (1 + Math.Exp(-v)),
        Unary.Tanh => Math.Tanh(v),
        Unary.Exp => Math.Exp(v),
        Unary.Log => Math.Log(v),
        Unary.Sin => Math.Sin(v),
        Unary.Cos => Math.Cos(v),
        Unary.Sqrt => Math.Sqrt(v),
        Unary.Neg => -v,
        Unary.Abs => Math.Abs(v),
        Unary.Erf => Erf(v),
        Unary.Reciprocal => 1 / v,
        Unary.Softplus => v > 0 ? v + Math.Log(1 + Math.Exp(-v)) : Math.Log(1 + Math.Exp(v)),
        Unary.Square => v * v,
        _ => throw new ArgumentOutOfRangeException(nameof(function), function, "no reference"),
    };

    /// <summary>erf in double: its Taylor series near zero, a continued fraction of erfc beyond.</summary>
    public static double Erf(double x)
    {
        double a = Math.Abs(x);
        if (a > 6) return Math.Sign(x);
        if (a < 2.5)
        {
            double term = x, sum = x;
            for (int n = 1; n < 100 && Math.Abs(term) > 1e-18 * Math.Abs(sum); n++)
            {
                term *= -x * x / n;
                sum += term / (2 * n + 1);
            }

            return 2 / Math.Sqrt(Math.PI) * sum;
        }

        double tail = 0;
        for (int k = 120; k >= 1; k--) tail = k / 2.0 / (a + tail);
        return Math.Sign(x) * (1 - Math.Exp(-a * a) / Math.Sqrt(Math.PI) / (a + tail));
    }

    /// <summary>A binary function in double precision.</summary>
    public static double Apply(Binary function, double a, double b) => function switch
    {
        Binary.Add => a + b,
        Binary.Sub => a - b,
        Binary.Mul => a * b,
        Binary.Div => a / b,
        Binary.Max => Math.Max(a, b),
        Binary.Min => Math.Min(a, b),
        Binary.Pow => Math.Pow(a, b),
        _ => throw new ArgumentOutOfRangeException(nameof(function), function, "no reference"),
    };

    /// <summary>A number as a type stores it.</summary>
    public static double Round(double v, DType to) => to switch
    {
        DType.F64 => v,
        DType.F32 => (float)v,
        DType.F16 => (double)(Half)v,
        DType.BF16 => RoundToBFloat16((float)v),
        DType.I64 => double.IsNaN(v) ? 0 : Math.Clamp(Math.Truncate(v), long.MinValue, long.MaxValue),
        DType.I32 => double.IsNaN(v) ? 0 : Math.Clamp(Math.Truncate(v), int.MinValue, int.MaxValue),
        DType.I8 => double.IsNaN(v) ? 0 : Math.Clamp(Math.Truncate(v), sbyte.MinValue, sbyte.MaxValue),
        DType.U8 => double.IsNaN(v) ? 0 : Math.Clamp(Math.Truncate(v), 0, 255),
        DType.Bool => v != 0 ? 1 : 0,
        _ => throw new NotSupportedException($"{to} has no rounding yet"),
    };

    private static double RoundToBFloat16(float v)
    {
        if (float.IsNaN(v)) return double.NaN;
        uint bits = BitConverter.SingleToUInt32Bits(v);
        return BitConverter.UInt32BitsToSingle((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000);
    }

    private static double[] Combine(Binary function, Tensor[] x, Shape y)
    {
        double[] a = Broadcast(x[0]), b = Broadcast(x[1]);
        var r = new double[y.Count];
        for (long i = 0; i < r.LongLength; i++) r[i] = Apply(function, a[i], b[i]);
        return r;

        double[] Broadcast(Tensor t) =>
            t.Shape == y ? t.Data : Gather(y, t, at => [.. at[(at.Length - t.Shape.Rank)..].Select((i, axis) => t.Shape[axis] == 1 ? 0 : i)]);
    }

    private static double[] Fill(Shape y, Func<long[], double> value)
    {
        var r = new double[y.Count];
        var at = new long[y.Rank];
        for (long i = 0; i < r.LongLength; i++)
        {
            r[i] = value(at);
            for (int axis = y.Rank - 1; axis >= 0 && ++at[axis] == y[axis]; axis--) at[axis] = 0;
        }

        return r;
    }

    private static double[] Gather(Shape y, Tensor x, Func<long[], long[]> index) => Fill(y, at => x.Data[Offset(x.Shape, index(at))]);

    private static long Offset(Shape s, long[] at)
    {
        long offset = 0;
        for (int axis = 0; axis < s.Rank; axis++) offset = offset * s[axis] + at[axis];
        return offset;
    }

    private static long[] Permuted(long[] at, EquatableList<int> axes)
    {
        var source = new long[at.Length];
        for (int a = 0; a < at.Length; a++) source[axes[a]] = at[a];
        return source;
    }

    private static double[] Concat(int axis, Tensor[] x, Shape y) => Fill(y, at =>
    {
        long i = at[axis];
        int part = 0;
        while (i >= x[part].Shape[axis]) i -= x[part++].Shape[axis];
        var source = (long[])at.Clone();
        source[axis] = i;
        return x[part].Data[Offset(x[part].Shape, source)];
    });

    private static double[] Pad(PadOp op, Tensor x, Shape y) => Fill(y, at =>
    {
        var source = new long[at.Length];
        for (int a = 0; a < at.Length; a++)
        {
            long i = at[a] - op.Before[a], n = x.Shape[a];
            if (i < 0 || i >= n)
            {
                switch (op.Mode)
                {
                    case PadMode.Constant: return op.Fill;
                    case PadMode.Edge: i = Math.Clamp(i, 0, n - 1); break;
                    case PadMode.Reflect: i = i < 0 ? -i : 2 * (n - 1) - i; break;
                    case PadMode.Wrap: i = ((i % n) + n) % n; break;
                }
            }

            source[a] = i;
        }

        return x.Data[Offset(x.Shape, source)];
    });

    private static double[] Embedding(Tensor[] x)
    {
        long rows = x[1].Shape[0], d = x[1].Shape[1];
        var r = new double[x[0].Data.Length * d];
        for (int i = 0; i < x[0].Data.Length; i++)
        {
            long id = (long)x[0].Data[i];
            if (id < 0 || id >= rows) throw new ArgumentOutOfRangeException(nameof(x), id, $"the table has {rows} rows");
            Array.Copy(x[1].Data, id * d, r, i * d, d);
        }

        return r;
    }

    private static double[] FirResample(FirResampleOp op, Tensor x, Shape y) => Fill(y, at =>
    {
        var s = x.Shape;
        double sum = 0;
        for (int i = 0; i < op.Taps.Count; i++)
        {
            long r = at[1] * op.Down + i - op.PadBefore;
            if (r < 0 || r % op.Up != 0 || r / op.Up >= s[1]) continue;
            for (int j = 0; j < op.Taps.Count; j++)
            {
                long c = at[2] * op.Down + j - op.PadBefore;
                if (c < 0 || c % op.Up != 0 || c / op.Up >= s[2]) continue;
                sum += (double)op.Taps[^(i + 1)] * op.Taps[^(j + 1)] * x.Data[((at[0] * s[1] + r / op.Up) * s[2] + c / op.Up) * s[3] + at[3]];
            }
        }

        return sum;
    });

    private static double[] Sinusoidal(SinusoidalEmbeddingOp op, Tensor t)
    {
        int half = op.Dim / 2;
        return Fill(new Shape(t.Shape[0], op.Dim), at =>
        {
            if (at[1] >= 2 * half) return 0;
            long i = at[1] % half;
            double angle = op.Scale * t.Data[at[0]] * Math.Exp(-Math.Log(op.MaxPeriod) * i / (half - op.Shift));
            return at[1] < half != op.Flip ? Math.Sin(angle) : Math.Cos(angle);
        });
    }

    private static double[] Fourier(FourierEmbeddingOp op, Tensor[] x)
    {
        long d = x[1].Shape[0];
        return Fill(new Shape(x[0].Shape[0], 2 * d), at =>
        {
            double t = op.Log ? Math.Log(x[0].Data[at[0]]) : x[0].Data[at[0]];
            double angle = 2 * Math.PI * t * x[1].Data[at[1] % d];
            return at[1] < d != op.Flip ? Math.Sin(angle) : Math.Cos(angle);
        });
    }
}
