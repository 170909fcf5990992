// Embeddings of a time: a few hundred numbers per step, computed in double one by one, rounded once.
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
            for (int r = 0; r < n; r++)
            {
                var (sin, cos) = DoubleMath.SinCos(frequency * t[r]);
                y[(long)r * dim + i] = (float)(flip ? cos : sin);
                y[(long)r * dim + half + i] = (float)(flip ? sin : cos);
            }
        }

        if (dim % 2 == 1)
            for (int r = 0; r < n; r++) y[(long)r * dim + dim - 1] = 0;
    }

    /// <summary>y: [n, 2*half] = sin and cos of 2 pi w t, of ln t where <paramref name="log"/>; sin first unless <paramref name="flip"/>.</summary>
    public static void Fourier(float* t, float* w, float* y, int n, int half, bool log, bool flip)
    {
        for (int r = 0; r < n; r++)
        {
            double time = !log ? t[r] : t[r] > 0 ? DoubleMath.Log(t[r]) : Math.Log(t[r]);
            for (int i = 0; i < half; i++)
            {
                var (sin, cos) = DoubleMath.SinCos(2 * Math.PI * time * w[i]);
                y[(2L * r + (flip ? 1 : 0)) * half + i] = (float)sin;
                y[(2L * r + (flip ? 0 : 1)) * half + i] = (float)cos;
            }
        }
    }
}
