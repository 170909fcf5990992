// Embeddings of a time, to the rounding of a double computation without doubles.
//
//   sinusoidal  y = [sin a, cos a] (flip: [cos a, sin a]), a = t f_i; an odd width ends with a zero.   t: [N], f: [half], y: [N, dim]
//   fourier     y = [sin 2 pi u, cos 2 pi u] (flip likewise), u = w t or w ln t.                       t: [N], w: [half], y: [N, 2 half]
//
// Work split  one thread per element of y.
// Numerics    a = 1000 in one float is off by 3e-5, so products are kept as a float and its exact rest (Dekker 1971), factors split by bits, which
//             no contraction can undo. The host gives f_i from double as a sum of two floats. A whole number of quarter turns is subtracted
//             exactly before the polynomial. ln t is a sum of two floats as well.
// Roofline    a few hundred numbers: bound by the launch.
using System.Runtime.CompilerServices;
using ILGPU;

namespace DiffusionCore.Kernels;

public static class TimeEmbeddingKernels
{
    /// <summary>High + Low, |Low| at most half an ulp of High.</summary>
    private struct Double32
    {
        public float High, Low;
    }

    /// <param name="high">Frequencies rounded to float.</param>
    /// <param name="low">What the rounding left.</param>
    [GpuKernel]
    public static void Sinusoidal(ArrayView<float> t, ArrayView<float> high, ArrayView<float> low, ArrayView<float> y, int images, int dim, int flip)
    {
        int index = Grid.GlobalIndex.X;
        if (index >= images * dim) return;
        int half = dim / 2, column = index % dim;
        if (column >= 2 * half)
        {
            y[index] = 0f;
            return;
        }

        int i = column % half;
        float time = t[index / dim];
        var angle = Product(time, high[i]);
        angle.Low += time * low[i];
        // n quarter turns of pi/2 = P1 + P2 + P3 + P4; n has at most 16 bits where |a| < 1e5, so the first products are exact.
        int n = FloatMath.RoundToInt(angle.High * 0.636619747f);
        float r = ((angle.High - n * 1.5703125f) - n * 4.837512969970703e-4f) - n * 7.549533620476723e-8f + (angle.Low - n * 2.56334415e-12f);
        bool cosine = column < half == (flip != 0);
        y[index] = FloatMath.SinReduced(r, cosine ? n + 1 : n);
    }

    [GpuKernel]
    public static void Fourier(ArrayView<float> t, ArrayView<float> w, ArrayView<float> y, int images, int half, int log, int flip)
    {
        int index = Grid.GlobalIndex.X;
        if (index >= images * 2 * half) return;
        int column = index % (2 * half);
        float time = t[index / (2 * half)], weight = w[column % half];
        var turns = default(Double32);
        if (log != 0)
        {
            var l = Log(time);
            turns = Product(l.High, weight);
            turns.Low += l.Low * weight;
        }
        else
        {
            turns = Product(time, weight);
        }

        int quarters = FloatMath.RoundToInt(turns.High * 4f);
        float r = (turns.High - quarters * 0.25f + turns.Low) * 6.28318531f;
        bool cosine = column < half == (flip != 0);
        y[index] = FloatMath.SinReduced(r, cosine ? quarters + 1 : quarters);
    }

    // a*b exactly, as long as nothing underflows: halves of 12 bits have exact products.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Double32 Product(float a, float b)
    {
        float ah = Head(a), al = a - ah, bh = Head(b), bl = b - bh;
        var p = default(Double32);
        p.High = a * b;
        p.Low = ((ah * bh - p.High) + ah * bl + al * bh) + al * bl;
        return p;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Head(float a) => Interop.IntAsFloat(Interop.FloatAsInt(a) & 0xFFFFF000u);

    // ln t = e ln2 + 2 atanh s, s = (m - 1)/(m + 1) with its rest; |s| < 0.172, so the terms beyond 2s need no rest. Positive normal t only.
    private static Double32 Log(float t)
    {
        var y = default(Double32);
        if (FloatMath.IsNaN(t) || t > float.MaxValue || t < 1.17549435e-38f)
        {
            y.High = FloatMath.Log(t);
            return y;
        }

        uint bits = Interop.FloatAsInt(t);
        int e = (int)(bits >> 23) - 127;
        float m = Interop.IntAsFloat((bits & 0x007FFFFFu) | 0x3F800000u);
        if (m > 1.41421354f)
        {
            m *= 0.5f;
            e += 1;
        }

        // m + 1 needs one bit more than a float has: its rest is kept.
        float top = m - 1f, bottom = m + 1f, bottomRest = m - (bottom - 1f);
        float s = top / bottom;
        var back = Product(s, bottom);
        float rest = ((top - back.High) - back.Low - s * bottomRest) / bottom;
        float z = s * s;
        float q = 0.0909090909f;
        q = q * z + 0.111111111f;
        q = q * z + 0.142857143f;
        q = q * z + 0.2f;
        q = q * z + 0.333333333f;
        // Largest first: e ln2 (14 bits, exact), 2s, then the small terms together.
        float large = e * 0.693115234f, twice = 2f * s;
        float sum = large + twice;
        float lost = e != 0 ? twice - (sum - large) : 0f;
        float small = lost + (e * 3.19461833e-5f + (2f * rest + 2f * s * z * q));
        y.High = sum + small;
        y.Low = small - (y.High - sum);
        return y;
    }
}
