using DiffusionCore.Runtime;

namespace DiffusionCore.Samplers;

/// <summary>The noise of the training steps: alpha-bar of each, in double.</summary>
public sealed class NoiseSchedule
{
    internal static readonly string[] BetaSchedules = ["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace"];

    /// <summary>What stands for a terminal alpha-bar of zero where a noise level must stay finite.</summary>
    private const double SmallestAlphaBar = 1.0 / (1 << 24);

    private NoiseSchedule(double[] alphaBar) => AlphaBar = alphaBar;

    /// <summary>Product of 1 - beta up to each training step.</summary>
    public double[] AlphaBar { get; }

    public int Steps => AlphaBar.Length;

    /// <param name="finiteSigmas">Whether a terminal alpha-bar of zero is lifted, as samplers on noise levels need.</param>
    public static NoiseSchedule Build(SchedulerConfig c, bool finiteSigmas)
    {
        double[] betas = c.TrainedBetas ?? Betas(c);
        var bar = new double[betas.Length];
        double product = 1;
        for (int i = 0; i < bar.Length; i++) bar[i] = product *= 1 - betas[i];
        if (c.ZeroTerminalSnr)
        {
            // Lin et al. 2024, algorithm 1: shift and scale sqrt(alpha-bar) so that the last is 0 and the first is kept.
            double first = Math.Sqrt(bar[0]), last = Math.Sqrt(bar[^1]);
            for (int i = 0; i < bar.Length; i++)
            {
                double root = (Math.Sqrt(bar[i]) - last) * first / (first - last);
                bar[i] = root * root;
            }

            if (finiteSigmas) bar[^1] = SmallestAlphaBar;
        }

        return new NoiseSchedule(bar);
    }

    /// <summary>Noise level of a training step: sqrt((1 - alpha-bar)/alpha-bar).</summary>
    public double Sigma(int step) => Math.Sqrt((1 - AlphaBar[step]) / AlphaBar[step]);

    public double[] Sigmas() => [.. Enumerable.Range(0, Steps).Select(Sigma)];

    private static double[] Betas(SchedulerConfig c)
    {
        int n = c.TrainSteps;
        return c.BetaSchedule switch
        {
            "linear" => Linspace(c.BetaStart, c.BetaEnd, n),
            "scaled_linear" => Array.ConvertAll(Linspace(Math.Sqrt(c.BetaStart), Math.Sqrt(c.BetaEnd), n), r => r * r),
            "sigmoid" => Array.ConvertAll(Linspace(-6, 6, n), x => (c.BetaEnd - c.BetaStart) / (1 + Math.Exp(-x)) + c.BetaStart),
            "squaredcos_cap_v2" => FromAlphaBar(n, t => Math.Pow(Math.Cos((t + 0.008) / 1.008 * Math.PI / 2), 2)),
            _ => FromAlphaBar(n, Laplace),
        };

        static double Laplace(double t)
        {
            double lambda = -0.5 * (0.5 - t >= 0 ? 1 : -1) * Math.Log(1 - 2 * Math.Abs(0.5 - t) + 1e-6);
            double snr = Math.Exp(lambda);
            return Math.Sqrt(snr / (1 + snr));
        }
    }

    private static double[] FromAlphaBar(int n, Func<double, double> alphaBar)
    {
        var betas = new double[n];
        for (int i = 0; i < n; i++) betas[i] = Math.Min(1 - alphaBar((i + 1.0) / n) / alphaBar((double)i / n), 0.999);
        return betas;
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
