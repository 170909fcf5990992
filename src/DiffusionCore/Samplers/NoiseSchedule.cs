using DiffusionCore.Kernels.Host;
using DiffusionCore.Runtime;

namespace DiffusionCore.Samplers;

/// <summary>
/// The noise of the training steps: alpha-bar of each. Betas, 1 - beta and the running product are rounded to float where the training codes
/// round them: networks learned with those numbers, and near the ends the rounding shows (the last 1 - beta of the cosine schedule is 0.001 to
/// within 1e-5 only). Everything that follows from the tables is in double.
/// </summary>
public sealed class NoiseSchedule
{
    internal static readonly string[] BetaSchedules = ["linear", "scaled_linear", "squaredcos_cap_v2", "exp", "sigmoid", "laplace"];

    /// <summary>What stands for a terminal alpha-bar of zero where a noise level must stay finite.</summary>
    private const double SmallestAlphaBar = 1.0 / (1 << 24);

    /// <summary>Upper bound of the betas that follow from an alpha-bar function.</summary>
    private const double LargestBeta = 0.999;

    private NoiseSchedule(double[] alphaBar, double[] betas) => (AlphaBar, Beta) = (alphaBar, betas);

    /// <summary>Product of 1 - beta up to each training step.</summary>
    public double[] AlphaBar { get; }

    /// <summary>Variance that each training step adds.</summary>
    public double[] Beta { get; }

    public int Steps => AlphaBar.Length;

    /// <param name="finiteSigmas">Whether a terminal alpha-bar of zero is lifted, as samplers on noise levels need.</param>
    public static NoiseSchedule Build(SchedulerConfig c, bool finiteSigmas)
    {
        float[] betas = c.TrainedBetas is { } trained ? Array.ConvertAll(trained, b => (float)b) : Betas(c);
        if (c.ZeroTerminalSnr) betas = WithZeroTerminalSnr(betas);
        double[] bar = Array.ConvertAll(Products(betas), b => (double)b);
        if (c.ZeroTerminalSnr && finiteSigmas) bar[^1] = SmallestAlphaBar;
        return new NoiseSchedule(bar, Array.ConvertAll(betas, b => (double)b));
    }

    /// <summary>
    /// CogVideoX's (Yang et al. 2024, section 2.4): the signal-to-noise ratio is lowered by a factor, then sqrt(alpha-bar) is shifted and scaled to
    /// end at zero where zero terminal SNR is asked for. In double throughout, as published.
    /// </summary>
    internal static NoiseSchedule BuildShifted(SchedulerConfig c)
    {
        double[] betas = c.TrainedBetas is null && c.BetaSchedule == "scaled_linear"
            ? [.. Linspace(Math.Sqrt(c.BetaStart), Math.Sqrt(c.BetaEnd), c.TrainSteps).Select(r => r * r)]
            : Build(c with { ZeroTerminalSnr = false }, finiteSigmas: false).Beta;
        var bar = new double[betas.Length];
        double product = 1;
        for (int i = 0; i < bar.Length; i++)
        {
            product *= 1 - betas[i];
            bar[i] = product / (c.SnrShiftScale + (1 - c.SnrShiftScale) * product);
        }

        if (c.ZeroTerminalSnr)
        {
            double first = Math.Sqrt(bar[0]), last = Math.Sqrt(bar[^1]);
            for (int i = 0; i < bar.Length; i++)
            {
                double root = (Math.Sqrt(bar[i]) - last) * first / (first - last);
                bar[i] = root * root;
            }
        }

        return new NoiseSchedule(bar, betas);
    }

    /// <summary>Noise level of a training step: sqrt((1 - alpha-bar)/alpha-bar).</summary>
    public double Sigma(int step) => (float)Math.Sqrt((float)((1 - AlphaBar[step]) / AlphaBar[step]));

    public double[] Sigmas() => [.. Enumerable.Range(0, Steps).Select(Sigma)];

    // The product is carried in double and rounded at each step.
    private static float[] Products(float[] betas)
    {
        var bar = new float[betas.Length];
        double product = 1;
        for (int i = 0; i < bar.Length; i++) bar[i] = (float)(product *= 1 - betas[i]);
        return bar;
    }

    // Lin et al. 2024, algorithm 1: shift and scale sqrt(alpha-bar) so that the last is 0 and the first is kept.
    private static float[] WithZeroTerminalSnr(float[] betas)
    {
        float[] bar = Products(betas), roots = Array.ConvertAll(bar, MathF.Sqrt);
        float first = roots[0], last = roots[^1], scale = first / (first - last);
        for (int i = 0; i < roots.Length; i++)
        {
            float root = (roots[i] - last) * scale;
            bar[i] = root * root;
        }

        var rescaled = new float[betas.Length];
        for (int i = 0; i < rescaled.Length; i++) rescaled[i] = 1 - (i == 0 ? bar[0] : bar[i] / bar[i - 1]);
        return rescaled;
    }

    private static float[] Betas(SchedulerConfig c)
    {
        int n = c.TrainSteps;
        return c.BetaSchedule switch
        {
            "linear" => LinspaceFloat((float)c.BetaStart, (float)c.BetaEnd, n),
            "scaled_linear" => Array.ConvertAll(LinspaceFloat((float)Math.Sqrt(c.BetaStart), (float)Math.Sqrt(c.BetaEnd), n), r => r * r),
            "sigmoid" => Array.ConvertAll(LinspaceFloat(-6, 6, n), x => (float)(1 / (1 + DoubleMath.Exp(-x))) * (float)(c.BetaEnd - c.BetaStart) + (float)c.BetaStart),
            "squaredcos_cap_v2" => FromAlphaBar(n, t => Square(DoubleMath.Cos((t + 0.008) / 1.008 * Math.PI / 2))),
            "exp" => FromAlphaBar(n, t => DoubleMath.Exp(-12 * t)),
            _ => FromAlphaBar(n, Laplace),
        };

        static double Square(double v) => v * v;

        static double Laplace(double t)
        {
            double lambda = -0.5 * (0.5 - t >= 0 ? 1 : -1) * DoubleMath.Log(1 - 2 * Math.Abs(0.5 - t) + 1e-6);
            double snr = DoubleMath.Exp(lambda);
            return Math.Sqrt(snr / (1 + snr));
        }
    }

    private static float[] FromAlphaBar(int n, Func<double, double> alphaBar)
    {
        var betas = new float[n];
        for (int i = 0; i < n; i++) betas[i] = (float)Math.Min(1 - alphaBar((i + 1.0) / n) / alphaBar((double)i / n), LargestBeta);
        return betas;
    }

    // Counted from the nearer end, in float.
    private static float[] LinspaceFloat(float first, float last, int n)
    {
        var values = new float[n];
        float step = n > 1 ? (last - first) / (n - 1) : 0;
        for (int i = 0; i < n; i++) values[i] = i < n / 2 || n == 1 ? first + step * i : last - step * (n - 1 - i);
        return values;
    }

    /// <summary>n numbers from first to last.</summary>
    public static double[] Linspace(double first, double last, int n)
    {
        var values = new double[n];
        double step = n > 1 ? (last - first) / (n - 1) : 0;
        for (int i = 0; i < n; i++) values[i] = first + i * step;
        if (n > 1) values[^1] = last;
        return values;
    }

    /// <summary>Training steps spaced evenly, first step of the sampling first; the three ways of the literature.</summary>
    /// <param name="offset">Added by leading alone.</param>
    /// <param name="intervals">For leading and linspace: intervals into which the range is cut (the number of steps, or one more and drop the last).</param>
    internal static double[] SpacedTimesteps(string spacing, int train, int steps, int offset, int intervals)
    {
        switch (spacing)
        {
            case "linspace":
                var even = Linspace(0, train - 1, intervals);
                return [.. even.Reverse().Select(t => Math.Round(t)).Take(steps)];
            case "leading":
                int ratio = train / intervals;
                return [.. Enumerable.Range(0, intervals).Reverse().Select(i => (double)(i * ratio + offset)).Take(steps)];
            default:
                double stride = (double)train / steps;
                int count = (int)Math.Ceiling(train / stride);
                return [.. Enumerable.Range(0, count).Select(i => Math.Round(train - i * stride) - 1)];
        }
    }

    /// <summary>y at x on a line through equally spaced points 0, 1, 2, ...; the ends are continued flat.</summary>
    internal static double Interpolate(double x, double[] y)
    {
        if (x <= 0) return y[0];
        if (x >= y.Length - 1) return y[^1];
        int i = (int)x;
        return y[i] + (x - i) * (y[i + 1] - y[i]);
    }
}
