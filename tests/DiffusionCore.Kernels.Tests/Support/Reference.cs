using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Kernels.Tests;

/// <summary>Double-precision functions that the class library lacks.</summary>
internal static class Reference
{
    /// <summary>The error function by its Taylor series below 3, else by the continued fraction of erfc.</summary>
    public static double Erf(double x)
    {
        double a = Math.Abs(x);
        if (a < 3)
        {
            double term = a, sum = a;
            for (int k = 1; Math.Abs(term) > 1e-18 * sum; k++)
            {
                term *= -a * a / k;
                sum += term / (2 * k + 1);
                if (a == 0) break;
            }

            return Math.CopySign(2 / Math.Sqrt(Math.PI) * sum, x);
        }

        double f = 0;
        for (int k = 60; k > 0; k--) f = k / 2.0 / (a + f);
        return Math.CopySign(1 - Math.Exp(-a * a) / (Math.Sqrt(Math.PI) * (a + f)), x);
    }

    public static double Log1P(double x) => x > 1e-4 ? Math.Log(1 + x) : x * (1 - x * (0.5 - x / 3));

    public static double Apply(Activation activation, double x) => activation switch
    {
        Activation.None => x,
        Activation.Silu => x / (1 + Math.Exp(-x)),
        Activation.Relu => Math.Max(0, x),
        Activation.Gelu => x / 2 * (1 + Erf(x / Math.Sqrt(2))),
        Activation.GeluTanh => x / 2 * (1 + Math.Tanh(Math.Sqrt(2 / Math.PI) * (x + 0.044715 * x * x * x))),
        Activation.QuickGelu => x / (1 + Math.Exp(-1.702 * x)),
        Activation.Sigmoid => 1 / (1 + Math.Exp(-x)),
        Activation.Tanh => Math.Tanh(x),
        _ => throw new ArgumentOutOfRangeException(nameof(activation)),
    };
}
