// Elementary functions on sixteen lanes. One set of polynomials for every instruction set, so one set of bytes.
//
// Each function reduces its argument to a short interval, evaluates a polynomial there by Horner's rule with explicit FMA, and
// undoes the reduction. The coefficients come from a Remez exchange of our own, weighted so that the error of the RESULT is level,
// then rounded to float; behind each table stands what that fit alone costs, in ulp.
//
//   function  reduction                                   error at most        seen   over
//   Exp       x = n ln2 + r, |r| <= ln2/2                 1.0 ulp              0.93   [-87.33, 88.72]
//   Exp2      x = n + r, |r| <= 1/2                       1.0 ulp                     [-126, 128)
//   Log       x = m 2^e, m in [sqrt(1/2), sqrt 2)         1.0 ulp              0.74   all positive floats
//   Sigmoid   1/(1 + e^-x)                                2.5 ulp              1.76   results above 1e-37
//   Silu      x/(1 + e^-x)                                3.0 ulp              2.21   results above 1e-36
//   Tanh      odd polynomial below 0.625, else by Exp     2.0 ulp              1.29   everywhere
//   Erf       odd polynomial below 1, else 1 - e^p(|x|)   2.0 ulp              1.01   everywhere
//   Gelu      x*F(x), F(-t) = 2^p(t)                      3.0 ulp or 3e-7 absolute   [-8, 8]
//   Softplus  max(x, 0) + ln(1 + e^-|x|)                  3.0 ulp              2.29   [-30, 30]
//   Sin, Cos  x = n pi/2 + r, pi/2 in three floats        1.0e-7 absolute             |x| <= 1e5
//
// Tests hold these figures against double. Results that would be subnormal become zero (Exp below -87.33; Gelu keeps them), so nothing depends on
// whether a processor flushes them.
using System.Runtime.CompilerServices;

namespace DiffusionCore.Kernels.Host;

/// <summary>exp, log, sigmoid, erf, sin and friends on <see cref="ISimd16{TSelf}"/> lanes; NaN in gives NaN out.</summary>
public static unsafe class VectorMath
{
    private const float Log2E = 1.44269504f;
    private const float Ln2High = 0.693147182f;             // ln 2 in two floats; with FMA the first product is exact after cancellation
    private const float Ln2Low = -1.90465421e-9f;
    private const float Ln2Short = 0.693115234f;            // ln 2 in 14 bits: an exponent times it is exact
    private const float Ln2ShortRest = 3.19461833e-5f;
    private const float LargestFloat = float.MaxValue;
    private const float SmallestNormal = 1.17549435e-38f;

    /// <summary>e^x: 0 below -87.33, infinity above 88.73.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Exp<V>(V x)
        where V : unmanaged, ISimd16<V>
    {
        // The order of the operands of Min and Max lets NaN through in c and keeps it out of n, which must be a number for Scale.
        V c = V.Max(V.Create(-88f), V.Min(V.Create(89f), x));
        V n = V.Max(V.Round(c * V.Create(Log2E)), V.Create(-127f));
        V r = V.NegatedMultiplyAdd(n, V.Create(Ln2Low), V.NegatedMultiplyAdd(n, V.Create(Ln2High), c));

        V q = V.Create(1.97903413e-4f);                     // (e^r - 1 - r)/r^2: 0.01 ulp
        q = V.MultiplyAdd(q, r, V.Create(1.39446591e-3f));
        q = V.MultiplyAdd(q, r, V.Create(8.33349675e-3f));
        q = V.MultiplyAdd(q, r, V.Create(4.16662954e-2f));
        q = V.MultiplyAdd(q, r, V.Create(0.166666657f));
        q = V.MultiplyAdd(q, r, V.Create(0.5f));
        V p = V.MultiplyAdd(q, r * r, r) + V.Create(1f);
        return V.SelectGreater(V.Create(-87.33f), x, V.Create(0f), V.Scale(p, n));
    }

    /// <summary>2^x: 0 below -126, infinity from 128 on.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Exp2<V>(V x)
        where V : unmanaged, ISimd16<V>
    {
        V c = V.Max(V.Create(-127f), V.Min(V.Create(128f), x));
        V n = V.Max(V.Round(c), V.Create(-127f));
        V r = c - n;

        V q = V.Create(1.51961540e-5f);                     // (2^r - 1)/r: 0.02 ulp
        q = V.MultiplyAdd(q, r, V.Create(1.54667592e-4f));
        q = V.MultiplyAdd(q, r, V.Create(1.33339351e-3f));
        q = V.MultiplyAdd(q, r, V.Create(9.61803831e-3f));
        q = V.MultiplyAdd(q, r, V.Create(5.55041023e-2f));
        q = V.MultiplyAdd(q, r, V.Create(0.240226507f));
        q = V.MultiplyAdd(q, r, V.Create(0.693147182f));
        V p = V.MultiplyAdd(q, r, V.Create(1f));
        return V.SelectGreater(V.Create(-126f), x, V.Create(0f), V.Scale(p, n));
    }

    /// <summary>Natural logarithm: -infinity at 0, NaN below.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Log<V>(V x)
        where V : unmanaged, ISimd16<V>
    {
        V zero = V.Create(0f), one = V.Create(1f);
        V small = V.Create(SmallestNormal);
        V m = V.Decompose(V.SelectGreater(small, x, x * V.Create(8388608f), x), out V e);
        e = e - V.SelectGreater(small, x, V.Create(23f), zero);
        V root = V.Create(1.41421354f);
        e = e + V.SelectGreater(m, root, one, zero);
        V f = V.SelectGreater(m, root, m * V.Create(0.5f), m) - one;

        V p = V.Create(6.74772412e-2f);                     // (ln(1+f) - f + f^2/2)/f^3: 0.03 ulp
        p = V.MultiplyAdd(p, f, V.Create(-0.116775095f));
        p = V.MultiplyAdd(p, f, V.Create(0.118886963f));
        p = V.MultiplyAdd(p, f, V.Create(-0.124053411f));
        p = V.MultiplyAdd(p, f, V.Create(0.142194539f));
        p = V.MultiplyAdd(p, f, V.Create(-0.166680053f));
        p = V.MultiplyAdd(p, f, V.Create(0.200021237f));
        p = V.MultiplyAdd(p, f, V.Create(-0.250000089f));
        p = V.MultiplyAdd(p, f, V.Create(0.333333135f));
        V square = f * f;
        V y = V.MultiplyAdd(e, V.Create(Ln2ShortRest), p * (f * square));
        y = V.NegatedMultiplyAdd(V.Create(0.5f), square, y);
        y = V.MultiplyAdd(e, V.Create(Ln2Short), f + y);

        V special = V.SelectGreater(zero, x, V.Create(float.NaN), x - V.Create(float.PositiveInfinity));
        return V.SelectGreater(x, V.Create(LargestFloat), x, V.SelectGreater(x, zero, y, special));
    }

    /// <summary>1/(1 + e^-x).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Sigmoid<V>(V x)
        where V : unmanaged, ISimd16<V> => V.Create(1f) / (V.Create(1f) + Exp(V.Create(0f) - x));

    /// <summary>x/(1 + e^-x); NaN at -infinity, where the quotient is infinity by infinity.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Silu<V>(V x)
        where V : unmanaged, ISimd16<V> => x / (V.Create(1f) + Exp(V.Create(0f) - x));

    /// <summary>x/(1 + e^(-1.702 x)).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V QuickGelu<V>(V x)
        where V : unmanaged, ISimd16<V> => x / (V.Create(1f) + Exp(x * V.Create(-1.702f)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Tanh<V>(V x)
        where V : unmanaged, ISimd16<V>
    {
        V z = x * x;
        V p = V.Create(2.12274585e-3f);                     // (tanh x - x)/x^3 in x^2: 0.03 ulp
        p = V.MultiplyAdd(p, z, V.Create(-8.15628096e-3f));
        p = V.MultiplyAdd(p, z, V.Create(2.16926076e-2f));
        p = V.MultiplyAdd(p, z, V.Create(-5.39453775e-2f));
        p = V.MultiplyAdd(p, z, V.Create(0.133331954f));
        p = V.MultiplyAdd(p, z, V.Create(-0.333333313f));
        V small = V.MultiplyAdd(p, x * z, x);

        V a = V.Abs(x), one = V.Create(1f);
        V big = one - V.Create(2f) / (Exp(a + a) + one);
        big = V.SelectGreater(V.Create(0f), x, V.Create(0f) - big, big);
        return V.SelectGreater(V.Create(0.625f), a, small, big);
    }

    /// <summary>The error function 2/sqrt(pi) * integral of e^-t^2 from 0 to x.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Erf<V>(V x)
        where V : unmanaged, ISimd16<V>
    {
        V z = x * x;
        V p = V.Create(-9.67602773e-6f);                    // erf(x)/x - 1 in x^2: 0.04 ulp
        p = V.MultiplyAdd(p, z, V.Create(1.12692112e-4f));
        p = V.MultiplyAdd(p, z, V.Create(-8.48454249e-4f));
        p = V.MultiplyAdd(p, z, V.Create(5.22106420e-3f));
        p = V.MultiplyAdd(p, z, V.Create(-2.68654432e-2f));
        p = V.MultiplyAdd(p, z, V.Create(0.112837829f));
        p = V.MultiplyAdd(p, z, V.Create(-0.376126379f));
        p = V.MultiplyAdd(p, z, V.Create(0.128379166f));
        V small = V.MultiplyAdd(p, x, x);

        V a = V.Abs(x), t = V.Min(V.Create(4f), a);         // erf is 1 to float precision from 3.92 on
        V q = V.Create(2.12048548e-7f);                     // ln erfc(t) on [1, 4]: 0.08 ulp of erf
        q = V.MultiplyAdd(q, t, V.Create(-2.47537155e-5f));
        q = V.MultiplyAdd(q, t, V.Create(4.60354728e-4f));
        q = V.MultiplyAdd(q, t, V.Create(-4.27062577e-3f));
        q = V.MultiplyAdd(q, t, V.Create(2.53489036e-2f));
        q = V.MultiplyAdd(q, t, V.Create(-0.108606569f));
        q = V.MultiplyAdd(q, t, V.Create(-0.633065760f));
        q = V.MultiplyAdd(q, t, V.Create(-1.12964928f));
        q = V.MultiplyAdd(q, t, V.Create(2.02063587e-4f));
        V big = V.Create(1f) - Exp(q);
        big = V.SelectGreater(V.Create(0f), x, V.Create(0f) - big, big);
        return V.SelectGreater(V.Create(1f), a, small, big);
    }

    /// <summary>
    /// x/2 * (1 + erf(x/sqrt 2)); absolute error below 1.2e-7 * max(1, |x|). As x*F(x) with the normal distribution's F, of which only the lower half is computed:
    /// F(-t) = 2^p(t) for every t >= 0, so no second form near zero as for <see cref="Erf"/>.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Gelu<V>(V x)
        where V : unmanaged, ISimd16<V>
    {
        V t = V.Abs(x);
        V p = V.Create(-2.27173934e-6f);                    // log2 F(-t): x*F is off by 1.5e-8 at most; beyond t of 6 it only falls
        p = V.MultiplyAdd(p, t, V.Create(3.29213965e-5f));
        p = V.MultiplyAdd(p, t, V.Create(-1.57071519e-4f));
        p = V.MultiplyAdd(p, t, V.Create(-2.02943104e-4f));
        p = V.MultiplyAdd(p, t, V.Create(7.14333690e-3f));
        p = V.MultiplyAdd(p, t, V.Create(-5.25467819e-2f));
        p = V.MultiplyAdd(p, t, V.Create(-0.459192956f));
        p = V.MultiplyAdd(p, t, V.Create(-1.15110695f));
        p = V.MultiplyAdd(p, t, V.Create(-0.999999959f));

        V c = V.Max(V.Create(-252f), p), n = V.Round(c), r = c - n;
        V q = V.Create(1.3264739e-3f);                      // (2^r - 1)/r: 1.1e-7 of 2^r
        q = V.MultiplyAdd(q, r, V.Create(9.67151672e-3f));
        q = V.MultiplyAdd(q, r, V.Create(5.55073358e-2f));
        q = V.MultiplyAdd(q, r, V.Create(0.240222424f));
        q = V.MultiplyAdd(q, r, V.Create(0.693147004f));
        V one = V.Create(1f), lower = V.Scale(V.MultiplyAdd(q, r, one), n);
        return x * V.SelectGreater(V.Create(0f), x, lower, one - lower);
    }

    /// <summary>x/2 * (1 + tanh u), u = sqrt(2/pi)*(x + 0.044715 x^3), computed as x/(1 + e^-2u).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V GeluTanh<V>(V x)
        where V : unmanaged, ISimd16<V>
    {
        V u = x * V.MultiplyAdd(x * x, V.Create(-0.0713548163f), V.Create(-1.59576912f));   // -2u; the factors are 2 sqrt(2/pi) and its 0.044715
        return x / (V.Create(1f) + Exp(u));
    }

    /// <summary>ln(1 + e^x) = max(x, 0) + ln(1 + e), e = e^-|x|. With u = 1 + e rounded, ln(u)*e/(u - 1) puts back what u lost.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Softplus<V>(V x)
        where V : unmanaged, ISimd16<V>
    {
        V zero = V.Create(0f), one = V.Create(1f);
        V e = Exp(zero - V.Abs(x));
        V u = one + e, d = u - one;
        return V.Max(zero, x) + V.SelectGreater(d, zero, Log(u) * (e / d), e);
    }

    /// <summary>sin x for |x| up to 1e5; beyond, accuracy decays with the float's own spacing.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Sin<V>(V x)
        where V : unmanaged, ISimd16<V> => SinShifted(x, V.Create(0f));

    /// <summary>cos x for |x| up to 1e5; beyond, accuracy decays with the float's own spacing.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Cos<V>(V x)
        where V : unmanaged, ISimd16<V> => SinShifted(x, V.Create(1f));

    // sin(x + shift*pi/2). n stays below 2^17, so quarter-turn arithmetic in floats is exact and no tie can occur in Round.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V SinShifted<V>(V x, V shift)
        where V : unmanaged, ISimd16<V>
    {
        V one = V.Create(1f), half = V.Create(0.5f);
        V n = V.Round(x * V.Create(0.636619747f));
        V r = V.NegatedMultiplyAdd(n, V.Create(1.57079637f), x);
        r = V.NegatedMultiplyAdd(n, V.Create(-4.37113883e-8f), r);
        r = V.NegatedMultiplyAdd(n, V.Create(-1.71512451e-15f), r);

        V quarter = n + shift;
        quarter = V.NegatedMultiplyAdd(V.Create(4f), V.Round(V.MultiplyAdd(quarter, V.Create(0.25f), V.Create(-0.375f))), quarter);
        V upper = V.Round(V.MultiplyAdd(quarter, half, V.Create(-0.25f)));      // quarter 0, 1 -> 0; 2, 3 -> 1
        V odd = V.NegatedMultiplyAdd(V.Create(2f), upper, quarter);

        V z = r * r;
        V s = V.Create(2.71829686e-6f);                     // (sin r - r)/r^3 in r^2: 0.03 ulp
        s = V.MultiplyAdd(s, z, V.Create(-1.98393333e-4f));
        s = V.MultiplyAdd(s, z, V.Create(8.33332911e-3f));
        s = V.MultiplyAdd(s, z, V.Create(-0.166666672f));
        s = V.MultiplyAdd(s, r * z, r);
        V c = V.Create(2.44383084e-5f);                     // (cos r - 1 + r^2/2)/r^4 in r^2: 0.01 ulp
        c = V.MultiplyAdd(c, z, V.Create(-1.38873665e-3f));
        c = V.MultiplyAdd(c, z, V.Create(4.16666456e-2f));
        c = V.MultiplyAdd(c, z * z, V.NegatedMultiplyAdd(half, z, one));

        V y = V.SelectGreater(odd, half, c, s);
        return V.SelectGreater(upper, half, V.Create(0f) - y, y);
    }

    /// <summary>The activation chosen at run time. The branch is the same for all lanes; hot loops that know the activation call it by name.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static V Apply<V>(Activation activation, V x)
        where V : unmanaged, ISimd16<V> => activation switch
        {
            Activation.None => x,
            Activation.Silu => Silu(x),
            Activation.Relu => V.Max(V.Create(0f), x),          // in this order NaN stays NaN
            Activation.Gelu => Gelu(x),
            Activation.GeluTanh => GeluTanh(x),
            Activation.QuickGelu => QuickGelu(x),
            Activation.Sigmoid => Sigmoid(x),
            Activation.Tanh => Tanh(x),
            _ => throw new ArgumentOutOfRangeException(nameof(activation)),
        };

    // Scalars for tails: the vector function on one lane, hence the same bytes.
    public static float Exp(float x) => Lane<UnaryFunctions.Exp>(x);
    public static float Exp2(float x) => Lane<UnaryFunctions.Exp2>(x);
    public static float Log(float x) => Lane<UnaryFunctions.Log>(x);
    public static float Sigmoid(float x) => Lane<UnaryFunctions.Sigmoid>(x);
    public static float Silu(float x) => Lane<UnaryFunctions.Silu>(x);
    public static float Tanh(float x) => Lane<UnaryFunctions.Tanh>(x);
    public static float Erf(float x) => Lane<UnaryFunctions.Erf>(x);
    public static float Gelu(float x) => Lane<UnaryFunctions.Gelu>(x);
    public static float GeluTanh(float x) => Lane<UnaryFunctions.GeluTanh>(x);
    public static float QuickGelu(float x) => Lane<UnaryFunctions.QuickGelu>(x);
    public static float Sin(float x) => Lane<UnaryFunctions.Sin>(x);
    public static float Cos(float x) => Lane<UnaryFunctions.Cos>(x);

    internal static float Lane<F>(float x)
        where F : struct, IUnaryFunction
    {
        float* lanes = stackalloc float[16];
        switch (HostIsa.Active)
        {
            case Isa.Avx512: Simd16Avx512.Store(F.Apply(Simd16Avx512.Create(x)), lanes); break;
            case Isa.Avx2: Simd16Avx2.Store(F.Apply(Simd16Avx2.Create(x)), lanes); break;
            default: Simd16Scalar.Store(F.Apply(Simd16Scalar.Create(x)), lanes); break;
        }

        return lanes[0];
    }
}
