// exp, log, sin and cos in double from +, *, / and FMA alone, one number at a time: for seeds, schedules and time embeddings, which must come out
// the same on every platform, whatever its C library. Taylor polynomials on reduced arguments; errors within 2 ulp of double (tests).
using System.Runtime.CompilerServices;

namespace DiffusionCore.Kernels.Host;

/// <summary>Elementary functions in double precision without the platform's library.</summary>
public static class DoubleMath
{
    private const double Ln2High = 0.693147180369123816490;      // 32 trailing bits are zero: n times it is exact
    private const double Ln2Low = 1.90821492927058770002e-10;
    private const double HalfPiHigh = 1.57079632679489655800;
    private const double HalfPiLow = 6.12323399573676603587e-17;

    /// <summary>e^x for |x| below 700.</summary>
    public static double Exp(double x)
    {
        double n = Math.Round(x * 1.4426950408889634);
        double r = Math.FusedMultiplyAdd(-n, Ln2High, x);
        r = Math.FusedMultiplyAdd(-n, Ln2Low, r);
        double p = 1.0 / 87178291200;                            // 14!
        p = Math.FusedMultiplyAdd(p, r, 1.0 / 6227020800);
        p = Math.FusedMultiplyAdd(p, r, 1.0 / 479001600);
        p = Math.FusedMultiplyAdd(p, r, 1.0 / 39916800);
        p = Math.FusedMultiplyAdd(p, r, 1.0 / 3628800);
        p = Math.FusedMultiplyAdd(p, r, 1.0 / 362880);
        p = Math.FusedMultiplyAdd(p, r, 1.0 / 40320);
        p = Math.FusedMultiplyAdd(p, r, 1.0 / 5040);
        p = Math.FusedMultiplyAdd(p, r, 1.0 / 720);
        p = Math.FusedMultiplyAdd(p, r, 1.0 / 120);
        p = Math.FusedMultiplyAdd(p, r, 1.0 / 24);
        p = Math.FusedMultiplyAdd(p, r, 1.0 / 6);
        p = Math.FusedMultiplyAdd(p, r, 0.5);
        p = Math.FusedMultiplyAdd(p, r, 1);
        p = Math.FusedMultiplyAdd(p, r, 1);
        return Math.ScaleB(p, (int)n);
    }

    /// <summary>ln x for positive normal x.</summary>
    public static double Log(double x)
    {
        long bits = BitConverter.DoubleToInt64Bits(x);
        double e = (int)(bits >> 52) - 1023;
        double m = BitConverter.Int64BitsToDouble((bits & 0xFFFFFFFFFFFFF) | 0x3FF0000000000000);
        if (m > 1.4142135623730951)
        {
            m *= 0.5;
            e += 1;
        }

        double s = (m - 1) / (m + 1), z = s * s, p = 2.0 / 25;
        for (int k = 23; k >= 3; k -= 2) p = Math.FusedMultiplyAdd(p, z, 2.0 / k);
        double small = Math.FusedMultiplyAdd(s * z, p, s + s);
        return Math.FusedMultiplyAdd(e, Ln2High, Math.FusedMultiplyAdd(e, Ln2Low, small));
    }

    /// <summary>sin x and cos x for |x| up to about 1e6.</summary>
    public static (double Sin, double Cos) SinCos(double x)
    {
        double n = Math.Round(x * 0.63661977236758138);
        double r = Math.FusedMultiplyAdd(-n, HalfPiHigh, x);
        r = Math.FusedMultiplyAdd(-n, HalfPiLow, r);
        double z = r * r;
        double s = Odd(z), c = Even(z);
        s = Math.FusedMultiplyAdd(s * z, r, r);
        return ((long)n & 3) switch
        {
            0 => (s, c),
            1 => (c, -s),
            2 => (-s, -c),
            _ => (-c, s),
        };
    }

    public static double Sin(double x) => SinCos(x).Sin;

    public static double Cos(double x) => SinCos(x).Cos;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static double Odd(double z)
    {
        double p = 1.0 / 355687428096000;                       // 17!
        p = Math.FusedMultiplyAdd(p, z, -1.0 / 1307674368000);  // 15!
        p = Math.FusedMultiplyAdd(p, z, 1.0 / 6227020800);      // 13!
        p = Math.FusedMultiplyAdd(p, z, -1.0 / 39916800);       // 11!
        p = Math.FusedMultiplyAdd(p, z, 1.0 / 362880);
        p = Math.FusedMultiplyAdd(p, z, -1.0 / 5040);
        p = Math.FusedMultiplyAdd(p, z, 1.0 / 120);
        return Math.FusedMultiplyAdd(p, z, -1.0 / 6);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static double Even(double z)
    {
        double p = -1.0 / 6402373705728000;                     // 18!
        p = Math.FusedMultiplyAdd(p, z, 1.0 / 20922789888000);  // 16!
        p = Math.FusedMultiplyAdd(p, z, -1.0 / 87178291200);    // 14!
        p = Math.FusedMultiplyAdd(p, z, 1.0 / 479001600);       // 12!
        p = Math.FusedMultiplyAdd(p, z, -1.0 / 3628800);        // 10!
        p = Math.FusedMultiplyAdd(p, z, 1.0 / 40320);
        p = Math.FusedMultiplyAdd(p, z, -1.0 / 720);
        p = Math.FusedMultiplyAdd(p, z, 1.0 / 24);
        p = Math.FusedMultiplyAdd(p, z, -0.5);
        return Math.FusedMultiplyAdd(p, z, 1.0);
    }
}
