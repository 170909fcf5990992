// exp, log, sin, cos, erf and the activations, sixteen lanes at a time, from +, *, / and FMA alone: the same bytes on every instruction set.
//
// exp    x = n ln 2 + r, |r| <= ln2/2; e^r by its Taylor polynomial of degree 7 (remainder 5e-9 of the result), then 2^n.
// log    x = m 2^e with m in [sqrt(1/2), sqrt 2); 2 atanh((m-1)/(m+1)) by its odd series to the ninth power.
// sin    x = n pi/2 + r with pi/2 in three parts; Taylor polynomials of degree 9 and 10 on |r| <= pi/4.
// erf    Taylor series below 0.84; above it 1 - erfc with the Chebyshev fit t exp(-x^2 + P(t)), t = 1/(1 + x/2)
//        (Press et al., Numerical Recipes, erfcc; fractional error below 1.2e-7).
// Errors against double, measured by the tests: exp, log 2 ulp; sigmoid, silu, tanh 4 ulp; erf 2e-7; sin, cos 1.5e-7 for |x| <= 2000.
using System.Runtime.CompilerServices;

namespace DiffusionCore.Kernels.Host;

/// <summary>Elementary functions on sixteen lanes.</summary>
public static class VectorMath
{
    private const MethodImplOptions Inline = MethodImplOptions.AggressiveInlining;

    /// <summary>Below this e^x is smaller than the smallest normal number and is given as 0.</summary>
    private const float ExpFloor = -87.33f;

    /// <summary>e^x. Below -87.33: 0; above 88.73: infinity; NaN stays NaN.</summary>
    [MethodImpl(Inline)]
    public static V Exp<V>(V x)
        where V : unmanaged, ISimd16<V>
    {
        var c = V.Max(V.Create(ExpFloor), V.Min(V.Create(89f), x));
        var n = V.Round(c * V.Create(1.44269504f));
        var r = V.NegatedMultiplyAdd(n, V.Create(0.693145752f), c);          // ln 2 with its low 9 bits cleared: n times it is exact
        r = V.NegatedMultiplyAdd(n, V.Create(1.42860677e-6f), r);
        var p = V.Create(1f / 5040);
        p = V.MultiplyAdd(p, r, V.Create(1f / 720));
        p = V.MultiplyAdd(p, r, V.Create(1f / 120));
        p = V.MultiplyAdd(p, r, V.Create(1f / 24));
        p = V.MultiplyAdd(p, r, V.Create(1f / 6));
        p = V.MultiplyAdd(p, r, V.Create(0.5f));
        p = V.MultiplyAdd(p, r, V.Create(1f));
        p = V.MultiplyAdd(p, r, V.Create(1f));
        return V.SelectGreater(V.Create(ExpFloor), x, V.Create(0f), V.Scale(p, n));
    }

    /// <summary>ln x. 0 gives -infinity, a negative number NaN.</summary>
    [MethodImpl(Inline)]
    public static V Log<V>(V x)
        where V : unmanaged, ISimd16<V>
    {
        var tiny = V.Create(1.17549435e-38f);
        var scaled = V.SelectGreater(tiny, x, x * V.Create(16777216f), x);    // subnormal numbers are lifted by 2^24
        var m = V.Decompose(scaled, out var e);
        e = V.SelectGreater(tiny, x, e - V.Create(24f), e);
        var big = V.Create(1.41421356f);
        e = V.SelectGreater(m, big, e + V.Create(1f), e);
        m = V.SelectGreater(m, big, m * V.Create(0.5f), m);
        var f = m - V.Create(1f);
        var s = f / (m + V.Create(1f));
        var z = s * s;
        var p = V.Create(2f / 9);
        p = V.MultiplyAdd(p, z, V.Create(2f / 7));
        p = V.MultiplyAdd(p, z, V.Create(2f / 5));
        p = V.MultiplyAdd(p, z, V.Create(2f / 3));
        var small = V.MultiplyAdd(s * z, p, s + s);
        var y = V.MultiplyAdd(e, V.Create(0.693145752f), V.MultiplyAdd(e, V.Create(1.42860677e-6f), small));
        y = V.SelectGreater(x, V.Create(float.MaxValue), x, y);
        var zero = V.Create(0f);
        var edge = V.SelectGreater(zero, x, V.Create(float.NaN), V.Create(float.NegativeInfinity));
        return V.SelectGreater(x, zero, y, edge + (x - x));                     // x - x keeps NaN
    }

    [MethodImpl(Inline)]
    public static V Sigmoid<V>(V x)
        where V : unmanaged, ISimd16<V> => V.Create(1f) / (V.Create(1f) + Exp(V.Create(0f) - x));

    /// <summary>x / (1 + e^-x).</summary>
    [MethodImpl(Inline)]
    public static V Silu<V>(V x)
        where V : unmanaged, ISimd16<V> => x / (V.Create(1f) + Exp(V.Create(0f) - x));

    [MethodImpl(Inline)]
    public static V Tanh<V>(V x)
        where V : unmanaged, ISimd16<V>
    {
        var a = V.Abs(x);
        var t = Exp(a * V.Create(-2f));
        var far = (V.Create(1f) - t) / (V.Create(1f) + t);
        far = V.SelectGreater(V.Create(0f), x, V.Create(0f) - far, far);
        var z = x * x;
        var p = V.Create(62f / 2835);
        p = V.MultiplyAdd(p, z, V.Create(-17f / 315));
        p = V.MultiplyAdd(p, z, V.Create(2f / 15));
        p = V.MultiplyAdd(p, z, V.Create(-1f / 3));
        var near = V.MultiplyAdd(x * z, p, x);
        return V.SelectGreater(a, V.Create(0.25f), far, near + (x - x));
    }

    [MethodImpl(Inline)]
    public static V Erf<V>(V x)
        where V : unmanaged, ISimd16<V>
    {
        var a = V.Abs(x);
        var far = V.Create(1f) - ErfcPositive(a);
        far = V.SelectGreater(V.Create(0f), x, V.Create(0f) - far, far);
        return V.SelectGreater(a, V.Create(0.84f), far, ErfNear(x));
    }

    /// <summary>x/2 (1 + erf(x / sqrt 2)).</summary>
    [MethodImpl(Inline)]
    public static V Gelu<V>(V x)
        where V : unmanaged, ISimd16<V>
    {
        var z = x * V.Create(0.707106781f);
        var a = V.Abs(z);
        var tail = ErfcPositive(a);
        var far = V.SelectGreater(V.Create(0f), z, tail, V.Create(2f) - tail);  // 1 + erf(z) without cancellation on either side
        var sum = V.SelectGreater(a, V.Create(0.84f), far, V.Create(1f) + ErfNear(z));
        return x * V.Create(0.5f) * sum;
    }

    [MethodImpl(Inline)]
    public static V GeluTanh<V>(V x)
        where V : unmanaged, ISimd16<V>
    {
        var u = V.Create(0.797884561f) * V.MultiplyAdd(V.Create(0.044715f) * x * x, x, x);
        return x * Sigmoid(u + u);                                             // (1 + tanh u)/2 = sigmoid(2u)
    }

    /// <summary>x sigmoid(1.702 x).</summary>
    [MethodImpl(Inline)]
    public static V QuickGelu<V>(V x)
        where V : unmanaged, ISimd16<V> => x / (V.Create(1f) + Exp(x * V.Create(-1.702f)));

    [MethodImpl(Inline)]
    public static V Softplus<V>(V x)
        where V : unmanaged, ISimd16<V>
    {
        var zero = V.Create(0f);
        return V.Max(zero, x) + Log(V.Create(1f) + Exp(zero - V.Abs(x)));
    }

    [MethodImpl(Inline)]
    public static V Sin<V>(V x)
        where V : unmanaged, ISimd16<V> => SinQuarter(x, 0f);

    [MethodImpl(Inline)]
    public static V Cos<V>(V x)
        where V : unmanaged, ISimd16<V> => SinQuarter(x, 1f);

    [MethodImpl(Inline)]
    public static V Apply<V>(Activation activation, V x)
        where V : unmanaged, ISimd16<V> => activation switch
        {
            Activation.Silu => Silu(x),
            Activation.Relu => V.Max(V.Create(0f), x),
            Activation.Gelu => Gelu(x),
            Activation.GeluTanh => GeluTanh(x),
            Activation.QuickGelu => QuickGelu(x),
            Activation.Sigmoid => Sigmoid(x),
            Activation.Tanh => Tanh(x),
            _ => x,
        };

    [MethodImpl(Inline)]
    private static V ErfNear<V>(V x)
        where V : unmanaged, ISimd16<V>
    {
        var z = x * x;
        var p = V.Create(-1f / (362880f * 19));
        p = V.MultiplyAdd(p, z, V.Create(1f / (40320f * 17)));
        p = V.MultiplyAdd(p, z, V.Create(-1f / (5040f * 15)));
        p = V.MultiplyAdd(p, z, V.Create(1f / (720f * 13)));
        p = V.MultiplyAdd(p, z, V.Create(-1f / (120f * 11)));
        p = V.MultiplyAdd(p, z, V.Create(1f / (24f * 9)));
        p = V.MultiplyAdd(p, z, V.Create(-1f / (6f * 7)));
        p = V.MultiplyAdd(p, z, V.Create(1f / (2f * 5)));
        p = V.MultiplyAdd(p, z, V.Create(-1f / 3));
        p = V.MultiplyAdd(p, z, V.Create(1f));
        return x * V.Create(1.12837917f) * p;
    }

    [MethodImpl(Inline)]
    private static V ErfcPositive<V>(V a)
        where V : unmanaged, ISimd16<V>
    {
        var t = V.Create(1f) / V.MultiplyAdd(a, V.Create(0.5f), V.Create(1f));
        var p = V.Create(0.17087277f);
        p = V.MultiplyAdd(p, t, V.Create(-0.82215223f));
        p = V.MultiplyAdd(p, t, V.Create(1.48851587f));
        p = V.MultiplyAdd(p, t, V.Create(-1.13520398f));
        p = V.MultiplyAdd(p, t, V.Create(0.27886807f));
        p = V.MultiplyAdd(p, t, V.Create(-0.18628806f));
        p = V.MultiplyAdd(p, t, V.Create(0.09678418f));
        p = V.MultiplyAdd(p, t, V.Create(0.37409196f));
        p = V.MultiplyAdd(p, t, V.Create(1.00002368f));
        p = V.MultiplyAdd(p, t, V.Create(-1.26551223f));
        return t * Exp(V.NegatedMultiplyAdd(a, a, p));
    }

    // sin(x + quarter * pi/2)
    [MethodImpl(Inline)]
    private static V SinQuarter<V>(V x, float quarter)
        where V : unmanaged, ISimd16<V>
    {
        var n = V.Round(x * V.Create(0.636619772f));
        var r = V.NegatedMultiplyAdd(n, V.Create(1.5703125f), x);
        r = V.NegatedMultiplyAdd(n, V.Create(4.83751297e-4f), r);
        r = V.NegatedMultiplyAdd(n, V.Create(7.54978995e-8f), r);
        var k = n + V.Create(quarter);
        k -= V.Create(4f) * V.Round(V.MultiplyAdd(k, V.Create(0.25f), V.Create(-0.375f)));   // k mod 4 in 0..3
        var z = r * r;
        var s = V.Create(1f / 362880);
        s = V.MultiplyAdd(s, z, V.Create(-1f / 5040));
        s = V.MultiplyAdd(s, z, V.Create(1f / 120));
        s = V.MultiplyAdd(s, z, V.Create(-1f / 6));
        s = V.MultiplyAdd(s * z, r, r);
        var c = V.Create(-1f / 3628800);
        c = V.MultiplyAdd(c, z, V.Create(1f / 40320));
        c = V.MultiplyAdd(c, z, V.Create(-1f / 720));
        c = V.MultiplyAdd(c, z, V.Create(1f / 24));
        c = V.MultiplyAdd(c, z, V.Create(-0.5f));
        c = V.MultiplyAdd(c, z, V.Create(1f));
        var half = V.Create(0.5f);
        var odd = V.Abs(k - V.Create(2f));                                   // 1 for k = 1 and 3
        odd = V.SelectGreater(half, V.Abs(odd - V.Create(1f)), V.Create(1f), V.Create(0f));
        var y = V.SelectGreater(odd, half, c, s);
        return V.SelectGreater(k, V.Create(1.5f), V.Create(0f) - y, y);
    }
}
