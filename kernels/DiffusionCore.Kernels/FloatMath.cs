// Elementary functions of one float, from arithmetic and bit patterns alone.
//
// The polynomials are those of the host's VectorMath, so every device has the same functions; a device's own approximations (ex2.approx,
// sin.approx) are not used. A device may contract a*b+c or not: no reduction relies on it. Constants that are multiplied by a whole
// number and subtracted are short enough for an exact product.
//
// NaN is recognised by its bits where it must pass: on OpenCL comparisons with NaN have been seen to take the other branch.
//
//   Exp        x = n ln2 + r                         2 ulp; 0 below -87.33, infinity above 88.73
//   Log        x = m 2^e                             2 ulp
//   Erf, Tanh  odd polynomial, else by Exp           3 ulp
//   Sin, Cos   x = n pi/2 + r, pi/2 in four floats   2e-7 absolute for |x| <= 1e4
//   Pow        e^(b ln |a|), signs as IEEE           (2 + |b ln a|) ulp: the logarithm is one float
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;

namespace DiffusionCore.Kernels;

public static class FloatMath
{
    private const float Log2E = 1.44269504f;
    private const float Ln2Short = 0.693115234f;            // 14 bits
    private const float Ln2ShortRest = 3.19461833e-5f;
    private const float TwoOverPi = 0.636619747f;
    private const float HalfPi1 = 1.5703125f;               // 8 bits
    private const float HalfPi2 = 4.837512969970703e-4f;    // 11 bits
    private const float HalfPi3 = 7.549533620476723e-8f;    // 11 bits
    private const float HalfPi4 = 2.56334415e-12f;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int RoundToInt(float x) => (int)(x < 0 ? x - 0.5f : x + 0.5f);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsNaN(float x) => (Interop.FloatAsInt(x) & 0x7FFFFFFFu) > 0x7F800000u;

    public static float Exp(float x)
    {
        if (IsNaN(x)) return x;
        if (x < -87.33f) return 0;
        if (x > 88.73f) return float.PositiveInfinity;
        int n = RoundToInt(x * Log2E);
        float r = (x - n * Ln2Short) - n * Ln2ShortRest;
        float q = 1.97903413e-4f;
        q = q * r + 1.39446591e-3f;
        q = q * r + 8.33349675e-3f;
        q = q * r + 4.16662954e-2f;
        q = q * r + 0.166666657f;
        q = q * r + 0.5f;
        float p = q * (r * r) + r + 1f;
        // 2^n in two factors, because 2^128 is no float.
        int first = n / 2;
        return p * PowerOfTwo(first) * PowerOfTwo(n - first);
    }

    public static float Log(float x)
    {
        if (IsNaN(x)) return x;
        if (x <= 0) return x == 0 ? float.NegativeInfinity : float.NaN;
        if (x > float.MaxValue) return x;
        float shift = 0;
        if (x < 1.17549435e-38f)
        {
            x *= 8388608f;
            shift = 23f;
        }

        uint bits = Interop.FloatAsInt(x);
        float e = (int)(bits >> 23) - 127 - shift;
        float m = Interop.IntAsFloat((bits & 0x007FFFFFu) | 0x3F800000u);
        if (m > 1.41421354f)
        {
            m *= 0.5f;
            e += 1f;
        }

        float f = m - 1f;
        float p = 6.74772412e-2f;
        p = p * f + -0.116775095f;
        p = p * f + 0.118886963f;
        p = p * f + -0.124053411f;
        p = p * f + 0.142194539f;
        p = p * f + -0.166680053f;
        p = p * f + 0.200021237f;
        p = p * f + -0.250000089f;
        p = p * f + 0.333333135f;
        float square = f * f;
        float y = e * Ln2ShortRest + p * (f * square);
        y -= 0.5f * square;
        return e * Ln2Short + (f + y);
    }

    public static float Sigmoid(float x) => 1f / (1f + Exp(-x));

    public static float Silu(float x) => x / (1f + Exp(-x));

    public static float QuickGelu(float x) => x / (1f + Exp(-1.702f * x));

    public static float Tanh(float x)
    {
        float a = x < 0 ? -x : x;
        if (a < 0.625f)
        {
            float z = x * x;
            float p = 2.12274585e-3f;
            p = p * z + -8.15628096e-3f;
            p = p * z + 2.16926076e-2f;
            p = p * z + -5.39453775e-2f;
            p = p * z + 0.133331954f;
            p = p * z + -0.333333313f;
            return p * (x * z) + x;
        }

        float big = 1f - 2f / (Exp(a + a) + 1f);
        return x < 0 ? -big : big;
    }

    public static float Erf(float x)
    {
        if (IsNaN(x)) return x;
        float a = x < 0 ? -x : x;
        if (a < 1f)
        {
            float z = x * x;
            float p = -9.67602773e-6f;
            p = p * z + 1.12692112e-4f;
            p = p * z + -8.48454249e-4f;
            p = p * z + 5.22106420e-3f;
            p = p * z + -2.68654432e-2f;
            p = p * z + 0.112837829f;
            p = p * z + -0.376126379f;
            p = p * z + 0.128379166f;
            return p * x + x;
        }

        float t = a > 4f ? 4f : a;
        float q = 2.12048548e-7f;
        q = q * t + -2.47537155e-5f;
        q = q * t + 4.60354728e-4f;
        q = q * t + -4.27062577e-3f;
        q = q * t + 2.53489036e-2f;
        q = q * t + -0.108606569f;
        q = q * t + -0.633065760f;
        q = q * t + -1.12964928f;
        q = q * t + 2.02063587e-4f;
        float big = 1f - Exp(q);
        return x < 0 ? -big : big;
    }

    public static float Gelu(float x)
    {
        float half = x * 0.5f;
        return half * Erf(x * 0.707106769f) + half;
    }

    /// <summary>x/(1 + e^-2u) with u = sqrt(2/pi)*(x + 0.044715 x^3).</summary>
    public static float GeluTanh(float x) => x / (1f + Exp(x * (x * x * -0.0713548163f + -1.59576912f)));

    public static float Softplus(float x)
    {
        float e = Exp(x < 0 ? x : -x), u = 1f + e, d = u - 1f;
        float rest = d > 0 ? Log(u) * (e / d) : e;
        return (x > 0 ? x : 0f) + rest;
    }

    /// <summary>sin(x + quarters*pi/2).</summary>
    public static float Sin(float x, int quarters)
    {
        int n = RoundToInt(x * TwoOverPi);
        float r = ((x - n * HalfPi1) - n * HalfPi2) - n * HalfPi3 - n * HalfPi4;
        return SinReduced(r, n + quarters);
    }

    /// <summary>sin(r + quarters*pi/2) for |r| up to about pi/4.</summary>
    public static float SinReduced(float r, int quarters)
    {
        float z = r * r;
        float s = 2.71829686e-6f;
        s = s * z + -1.98393333e-4f;
        s = s * z + 8.33332911e-3f;
        s = s * z + -0.166666672f;
        s = s * (r * z) + r;
        float c = 2.44383084e-5f;
        c = c * z + -1.38873665e-3f;
        c = c * z + 4.16666456e-2f;
        c = c * (z * z) + (1f - 0.5f * z);
        float y = (quarters & 1) == 0 ? s : c;
        return (quarters & 2) == 0 ? y : -y;
    }

    public static float Pow(float a, float b)
    {
        if (IsNaN(a) || IsNaN(b)) return float.NaN;
        if (b == 0 || a == 1f) return 1f;
        float magnitude = a < 0 ? -a : a;
        // From 2^24 on a float is a whole, even number.
        bool whole = b >= 16777216f || b <= -16777216f || (int)b == b;
        bool odd = b < 16777216f && b > -16777216f && whole && ((int)b & 1) != 0;
        if (a < 0 && !whole && magnitude <= float.MaxValue) return float.NaN;
        float y = magnitude == 0 ? (b > 0 ? 0f : float.PositiveInfinity) : magnitude == 1f ? 1f : Exp(b * Log(magnitude));
        return a < 0 && odd ? -y : y;
    }

    public static float Sqrt(float x) => XMath.Sqrt(x);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float PowerOfTwo(int n) => Interop.IntAsFloat((uint)(n + 127) << 23);
}
