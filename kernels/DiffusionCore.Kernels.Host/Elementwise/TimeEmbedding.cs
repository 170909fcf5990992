// Embeddings of a time: a few hundred numbers per step, one by one.
//
//   sinusoidal  y = [sin a, cos a] (flip: [cos a, sin a]), a = scale * (t * f_i), f_i = e^(-ln(maxPeriod) i / (dim/2 - shift))
//   fourier     y = [sin a, cos a], a = 2 pi w t  (log: w ln t)
//
// Numerics    Sinusoidal and Fourier: double, rounded once. SinusoidalFloat32: f_i and a rounded to float after each operation,
//             exponential included, as a float32 library computes them; at t = 1000 that moves a by up to 5e-5, far more than the
//             rounding of the result, and it is what networks trained there have seen. Sine and cosine of the rounded a are exact to
//             half an ulp. Where that library's own exp is off by an ulp, y differs by |a|*6e-8.
namespace DiffusionCore.Kernels.Host;

/// <summary>Sinusoidal and Fourier features of times.</summary>
public static unsafe class TimeEmbedding
{
    /// <summary>
    /// y: [n, dim] = sin and cos of scale*t*exp(-ln(maxPeriod) i / (dim/2 - shift)), i in [0, dim/2); sin first unless <paramref name="flip"/>.
    /// An odd dim ends with a zero.
    /// </summary>
    public static void Sinusoidal(float* t, float* y, int n, int dim, bool flip, double shift, double scale, double maxPeriod)
    {
        int half = dim / 2;
        double slope = -DoubleMath.Log(maxPeriod) / (half - shift);
        for (int i = 0; i < half; i++)
        {
            double frequency = scale * DoubleMath.Exp(slope * i);
            for (int r = 0; r < n; r++) Put(y + (long)r * dim + i, half, flip, frequency * t[r]);
        }

        EndOdd(y, n, dim);
    }

    /// <summary>As <see cref="Sinusoidal"/>, with every intermediate result rounded to float.</summary>
    public static void SinusoidalFloat32(float* t, float* y, int n, int dim, bool flip, double shift, double scale, double maxPeriod)
    {
        int half = dim / 2;
        float slope = (float)-DoubleMath.Log(maxPeriod), steps = (float)(half - shift), factor = (float)scale;
        for (int i = 0; i < half; i++)
        {
            float frequency = (float)DoubleMath.Exp(slope * i / steps);
            for (int r = 0; r < n; r++)
            {
                float angle = t[r] * frequency;
                angle = factor * angle;
                Put(y + (long)r * dim + i, half, flip, angle);
            }
        }

        EndOdd(y, n, dim);
    }

    private static void Put(float* y, int half, bool flip, double angle)
    {
        var (sin, cos) = DoubleMath.SinCos(angle);
        y[0] = (float)(flip ? cos : sin);
        y[half] = (float)(flip ? sin : cos);
    }

    private static void EndOdd(float* y, int n, int dim)
    {
        if (dim % 2 == 0) return;
        for (int r = 0; r < n; r++) y[(long)r * dim + dim - 1] = 0;
    }

    /// <summary>y: [n, 2*half] = sin and cos of 2 pi w t, of ln t where <paramref name="log"/>; sin first unless <paramref name="flip"/>.</summary>
    public static void Fourier(float* t, float* w, float* y, int n, int half, bool log, bool flip)
    {
        for (int r = 0; r < n; r++)
        {
            double time = !log ? t[r] : t[r] > 0 ? DoubleMath.Log(t[r]) : t[r] == 0 ? double.NegativeInfinity : double.NaN;
            for (int i = 0; i < half; i++)
            {
                var (sin, cos) = DoubleMath.SinCos(2 * Math.PI * time * w[i]);
                y[(2L * r + (flip ? 1 : 0)) * half + i] = (float)sin;
                y[(2L * r + (flip ? 0 : 1)) * half + i] = (float)cos;
            }
        }
    }
}
