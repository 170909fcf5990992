// Layer normalisation, RMS normalisation and softmax over rows.
//
//   layer norm  y = (x - mu)/sqrt(var + eps) * gamma + beta over the last axis
//   rms norm    y = x/sqrt(mean(x^2) + eps) * gamma, or x/(sqrt(mean(x^2)) + eps) * gamma
//   softmax     y = e^(x - max) / sum e^(x - max)
//   x, y: [rows, C] with a pitch; gamma, beta: [C] or null.
//
// Work split  rows, several per item.
// Numerics    sums over sixteen lanes, two or four chains and one tree; two passes for the variance, because E[x^2] - mu^2 cancels when |mu| >> sigma, and
//             the mean is taken about the row's first element for the same reason; what its rounding to float leaves out is a second
//             number, subtracted too. The last partial vector is padded so that it adds nothing. A row of -infinity alone gives zeros.
// Roofline    8 bytes per element when the row fits L1: memory bound; softmax a dozen flops more.
namespace DiffusionCore.Kernels.Host;

/// <summary>Layer normalisation.</summary>
public static unsafe class LayerNorm
{
    /// <param name="gamma">[channels] or null for 1.</param>
    /// <param name="beta">[channels] or null for 0.</param>
    /// <param name="y">May be <paramref name="x"/>.</param>
    public static void Run(WorkerPool pool, float* x, long ldx, float* y, long ldy, int rows, int channels, float* gamma, float* beta, float epsilon)
    {
        var s = new RowArguments { X = x, Y = y, LdX = ldx, LdY = ldy, Rows = rows, Channels = channels, Gamma = gamma, Beta = beta, Epsilon = epsilon };
        RowArguments.Launch<LayerNormRow>(pool, ref s);
    }
}

/// <summary>Normalisation by the root of the mean square.</summary>
public static unsafe class RmsNorm
{
    /// <param name="gamma">[channels] or null for 1.</param>
    /// <param name="y">May be <paramref name="x"/>.</param>
    /// <param name="outside">Whether epsilon is added to the root instead of to the mean square.</param>
    public static void Run(WorkerPool pool, float* x, long ldx, float* y, long ldy, int rows, int channels, float* gamma, float epsilon, bool outside = false)
    {
        var s = new RowArguments { X = x, Y = y, LdX = ldx, LdY = ldy, Rows = rows, Channels = channels, Gamma = gamma, Epsilon = epsilon };
        if (outside) RowArguments.Launch<RmsNormOutsideRow>(pool, ref s);
        else RowArguments.Launch<RmsNormRow>(pool, ref s);
    }
}

/// <summary>Softmax over the last axis of a dense array.</summary>
public static unsafe class Softmax
{
    /// <param name="y">May be <paramref name="x"/>.</param>
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

    /// <summary>y = (x - mean - rest)*factor*gamma + beta.</summary>
    public static void Write<V>(in RowArguments s, float* x, float* y, float mean, float rest, float factor)
        where V : unmanaged, ISimd16<V>
    {
        V m = V.Create(mean), r = V.Create(rest), f = V.Create(factor);
        int c = 0;
        if (s.Gamma != null && s.Beta != null)
        {
            for (; c + 16 <= s.Channels; c += 16) V.Store(V.MultiplyAdd((V.Load(x + c) - m - r) * f, V.Load(s.Gamma + c), V.Load(s.Beta + c)), y + c);
            for (; c < s.Channels; c++) y[c] = MathF.FusedMultiplyAdd((x[c] - mean - rest) * factor, s.Gamma[c], s.Beta[c]);
            return;
        }

        for (; c + 16 <= s.Channels; c += 16)
        {
            V v = (V.Load(x + c) - m - r) * f;
            if (s.Gamma != null) v = v * V.Load(s.Gamma + c);
            if (s.Beta != null) v = v + V.Load(s.Beta + c);
            V.Store(v, y + c);
        }

        for (; c < s.Channels; c++)
        {
            float v = (x[c] - mean - rest) * factor;
            if (s.Gamma != null) v *= s.Gamma[c];
            if (s.Beta != null) v += s.Beta[c];
            y[c] = v;
        }
    }

    /// <summary>Sum over a row of x - k, or of its square: four chains of sixteen lanes, then the rest, then one tree.</summary>
    public static float Sum<V>(float* x, int n, float k, bool squared)
        where V : unmanaged, ISimd16<V>
    {
        V shift = V.Create(k), sum = V.Create(0f), s1 = sum, s2 = sum, s3 = sum;
        int c = 0;
        if (squared)
        {
            for (; c + 64 <= n; c += 64)
            {
                V d0 = V.Load(x + c) - shift, d1 = V.Load(x + c + 16) - shift, d2 = V.Load(x + c + 32) - shift, d3 = V.Load(x + c + 48) - shift;
                sum = V.MultiplyAdd(d0, d0, sum);
                s1 = V.MultiplyAdd(d1, d1, s1);
                s2 = V.MultiplyAdd(d2, d2, s2);
                s3 = V.MultiplyAdd(d3, d3, s3);
            }
        }
        else
        {
            for (; c + 64 <= n; c += 64)
            {
                sum += V.Load(x + c) - shift;
                s1 += V.Load(x + c + 16) - shift;
                s2 += V.Load(x + c + 32) - shift;
                s3 += V.Load(x + c + 48) - shift;
            }
        }

        sum = sum + s1 + (s2 + s3);
        for (; c + 16 <= n; c += 16)
        {
            V d = V.Load(x + c) - shift;
            sum = squared ? V.MultiplyAdd(d, d, sum) : sum + d;
        }

        if (c < n)
        {
            float* buffer = stackalloc float[16];
            V d = LoadPart<V>(x + c, n - c, k, buffer) - shift;
            sum = squared ? V.MultiplyAdd(d, d, sum) : sum + d;
        }

        return V.ReduceAdd(sum);
    }

    /// <summary>Both sums in one pass, two chains each.</summary>
    public static void Moments<V>(float* x, int n, float k, out float sum, out float square)
        where V : unmanaged, ISimd16<V>
    {
        V shift = V.Create(k), a0 = V.Create(0f), a1 = a0, b0 = a0, b1 = a0;
        int c = 0;
        for (; c + 32 <= n; c += 32)
        {
            V d0 = V.Load(x + c) - shift, d1 = V.Load(x + c + 16) - shift;
            a0 += d0;
            a1 += d1;
            b0 = V.MultiplyAdd(d0, d0, b0);
            b1 = V.MultiplyAdd(d1, d1, b1);
        }

        float* buffer = stackalloc float[16];
        for (; c < n; c += 16)
        {
            V d = (c + 16 <= n ? V.Load(x + c) : LoadPart<V>(x + c, n - c, k, buffer)) - shift;
            a0 += d;
            b0 = V.MultiplyAdd(d, d, b0);
        }

        sum = V.ReduceAdd(a0 + a1);
        square = V.ReduceAdd(b0 + b1);
    }
}

internal readonly struct LayerNormRow : IRow
{
    public static unsafe void Apply<V>(in RowArguments s, float* x, float* y)
        where V : unmanaged, ISimd16<V>
    {
        float mean = x[0] + RowArguments.Sum<V>(x, s.Channels, x[0], squared: false) / s.Channels;
        RowArguments.Moments<V>(x, s.Channels, mean, out float sum, out float square);
        float rest = sum / s.Channels;      // what rounding the mean to float left out
        float variance = MathF.Max(0, square / s.Channels - rest * rest);
        RowArguments.Write<V>(s, x, y, mean, rest, 1 / MathF.Sqrt(variance + s.Epsilon));
    }
}

internal readonly struct RmsNormRow : IRow
{
    public static unsafe void Apply<V>(in RowArguments s, float* x, float* y)
        where V : unmanaged, ISimd16<V> =>
        RowArguments.Write<V>(s, x, y, 0, 0, 1 / MathF.Sqrt(RowArguments.Sum<V>(x, s.Channels, 0, squared: true) / s.Channels + s.Epsilon));
}

internal readonly struct RmsNormOutsideRow : IRow
{
    public static unsafe void Apply<V>(in RowArguments s, float* x, float* y)
        where V : unmanaged, ISimd16<V> =>
        RowArguments.Write<V>(s, x, y, 0, 0, 1 / (MathF.Sqrt(RowArguments.Sum<V>(x, s.Channels, 0, squared: true) / s.Channels) + s.Epsilon));
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

        float scalar = 1 / V.ReduceAdd(sum);
        V inverse = V.Create(scalar);
        for (int c = 0; c < whole; c += 16) V.Store(V.Load(y + c) * inverse, y + c);
        for (int c = whole; c < n; c++) y[c] *= scalar;
    }
}
