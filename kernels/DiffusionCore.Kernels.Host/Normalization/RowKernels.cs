// Layer normalisation and softmax over rows.
//
//   layer norm  y = (x - mu)/sqrt(var + eps) * gamma + beta over the last axis;  softmax  y = e^(x - max) / sum e^(x - max).
//   x, y: [rows, C] with a pitch.
//
// Work split  rows, several per item.
// Numerics    sums over sixteen lanes and one tree; two passes for the variance, because E[x^2] - mu^2 cancels when |mu| >> sigma.
//             The last partial vector is padded with zeros (sums) or -infinity (maximum). A row of -infinity alone gives zeros.
// Roofline    8 bytes per element when the row fits L1: memory bound; softmax a dozen flops more.
namespace DiffusionCore.Kernels.Host;

/// <summary>Layer normalisation.</summary>
public static unsafe class LayerNorm
{
    public static void Run(WorkerPool pool, float* x, long ldx, float* y, long ldy, int rows, int channels, float* gamma, float* beta, float epsilon)
    {
        var s = new RowArguments { X = x, Y = y, LdX = ldx, LdY = ldy, Rows = rows, Channels = channels, Gamma = gamma, Beta = beta, Epsilon = epsilon };
        RowArguments.Launch<LayerNormRow>(pool, ref s);
    }
}

/// <summary>Softmax over the last axis of a dense array.</summary>
public static unsafe class Softmax
{
    public static void Run(WorkerPool pool, float* x, float* y, int rows, int n)
    {
        var s = new RowArguments { X = x, Y = y, LdX = n, LdY = n, Rows = rows, Channels = n };
        RowArguments.Launch<SoftmaxRow>(pool, ref s);
    }
}

internal interface IRow
{
    static abstract unsafe void Apply<V>(in RowArguments s, float* x, float* y)
        where V : unmanaged, ISimd16<V>;
}

internal unsafe struct RowArguments
{
    private const int ChunkElements = 8192;

    public float* X, Y, Gamma, Beta;
    public long LdX, LdY;
    public int Rows, Channels, RowsPerItem;
    public float Epsilon;

    public static void Launch<TRow>(WorkerPool pool, ref RowArguments arguments)
        where TRow : struct, IRow
    {
        fixed (RowArguments* s = &arguments)
        {
            s->RowsPerItem = Math.Max(1, ChunkElements / Math.Max(1, s->Channels));
            int items = (s->Rows + s->RowsPerItem - 1) / s->RowsPerItem;
            switch (pool.Isa)
            {
                case Isa.Avx512: pool.For(items, &Item<Simd16Avx512, TRow>, s); break;
                case Isa.Avx2: pool.For(items, &Item<Simd16Avx2, TRow>, s); break;
                default: pool.For(items, &Item<Simd16Scalar, TRow>, s); break;
            }
        }
    }

    private static void Item<V, TRow>(void* state, int item, int worker)
        where V : unmanaged, ISimd16<V>
        where TRow : struct, IRow
    {
        var s = (RowArguments*)state;
        int end = Math.Min(s->Rows, (item + 1) * s->RowsPerItem);
        for (int row = item * s->RowsPerItem; row < end; row++) TRow.Apply<V>(*s, s->X + row * s->LdX, s->Y + row * s->LdY);
    }

    /// <summary>Sixteen lanes from p, of which n are read and the others are <paramref name="pad"/>.</summary>
    public static V LoadPart<V>(float* p, int n, float pad, float* buffer)
        where V : unmanaged, ISimd16<V>
    {
        for (int k = 0; k < 16; k++) buffer[k] = k < n ? p[k] : pad;
        return V.Load(buffer);
    }
}

internal readonly struct LayerNormRow : IRow
{
    public static unsafe void Apply<V>(in RowArguments s, float* x, float* y)
        where V : unmanaged, ISimd16<V>
    {
        float* buffer = stackalloc float[16];
        int whole = s.Channels / 16 * 16, rest = s.Channels - whole;
        V sum = V.Create(0f);
        for (int c = 0; c < whole; c += 16) sum += V.Load(x + c);
        if (rest > 0) sum += RowArguments.LoadPart<V>(x + whole, rest, 0, buffer);
        float mean = V.ReduceAdd(sum) / s.Channels;
        V mu = V.Create(mean), square = V.Create(0f);
        for (int c = 0; c < whole; c += 16)
        {
            V d = V.Load(x + c) - mu;
            square = V.MultiplyAdd(d, d, square);
        }

        if (rest > 0)
        {
            V d = RowArguments.LoadPart<V>(x + whole, rest, mean, buffer) - mu;
            square = V.MultiplyAdd(d, d, square);
        }

        float inverse = 1 / MathF.Sqrt(V.ReduceAdd(square) / s.Channels + s.Epsilon);
        V factor = V.Create(inverse);
        for (int c = 0; c < whole; c += 16)
        {
            V v = (V.Load(x + c) - mu) * factor;
            if (s.Gamma != null) v = V.MultiplyAdd(v, V.Load(s.Gamma + c), V.Load(s.Beta + c));
            V.Store(v, y + c);
        }

        for (int c = whole; c < s.Channels; c++)
        {
            float v = (x[c] - mean) * inverse;
            y[c] = s.Gamma != null ? MathF.FusedMultiplyAdd(v, s.Gamma[c], s.Beta[c]) : v;
        }
    }
}

internal readonly struct SoftmaxRow : IRow
{
    public static unsafe void Apply<V>(in RowArguments s, float* x, float* y)
        where V : unmanaged, ISimd16<V>
    {
        float* buffer = stackalloc float[16];
        int n = s.Channels, whole = n / 16 * 16, rest = n - whole;
        V top = V.Create(float.NegativeInfinity);
        for (int c = 0; c < whole; c += 16) top = V.Max(top, V.Load(x + c));
        if (rest > 0) top = V.Max(top, RowArguments.LoadPart<V>(x + whole, rest, float.NegativeInfinity, buffer));
        float maximum = V.ReduceMax(top);
        if (float.IsNegativeInfinity(maximum))
        {
            new Span<float>(y, n).Clear();
            return;
        }

        V m = V.Create(maximum), sum = V.Create(0f);
        for (int c = 0; c < whole; c += 16)
        {
            V e = VectorMath.Exp(V.Load(x + c) - m);
            sum += e;
            V.Store(e, y + c);
        }

        if (rest > 0)
        {
            V e = VectorMath.Exp(RowArguments.LoadPart<V>(x + whole, rest, float.NegativeInfinity, buffer) - m);
            sum += e;
            V.Store(e, buffer);
            for (int k = 0; k < rest; k++) y[whole + k] = buffer[k];
        }

        V inverse = V.Create(1 / V.ReduceAdd(sum));
        for (int c = 0; c < whole; c += 16) V.Store(V.Load(y + c) * inverse, y + c);
        float scalar = 1 / V.ReduceAdd(sum);
        for (int c = whole; c < n; c++) y[c] *= scalar;
    }
}
