using DiffusionCore.Runtime;

namespace DiffusionCore.Samplers.Sde;

/// <summary>
/// Analytic-DPM (Bao et al. 2022, theorem 1): the ancestral step with the variance that is optimal for the data, from the mean square of eps at each
/// time, Gamma = E|eps|^2/d:
/// <code>
/// x' = mean + sigma* z,  sigma*^2 = v^2 + (sqrt(b/a) - sqrt(b' - v^2))^2 (1 - Gamma)
/// b = 1 - alpha-bar, b' at the earlier time, a = alpha-bar/alpha-bar', v^2 the variance of the family: the posterior's (DDPM) or 0 (DDIM)
/// </code>
/// </summary>
public static class AnalyticDpm
{
    /// <param name="alphaBar">alpha-bar at each time, rising; the last may be 1 (no noise is added there).</param>
    /// <param name="times">What the network is told at each but the last.</param>
    /// <param name="gamma">Gamma at each but the last, from 0 to 1.</param>
    /// <param name="posterior">Whether v^2 is the posterior's variance, else 0.</param>
    /// <exception cref="UsageException">Lists that do not match, or values out of range.</exception>
    public static SamplerPlan Plan(double[] alphaBar, double[] times, double[] gamma, bool posterior, Prediction prediction)
    {
        int n = alphaBar.Length - 1;
        if (n < 1 || times.Length != n || gamma.Length != n) throw new UsageException($"analytic-dpm: expected times and statistics for {Math.Max(n, 1)} steps, found {times.Length} and {gamma.Length}");
        for (int i = 0; i <= n; i++)
        {
            if (!(alphaBar[i] > 0 && alphaBar[i] <= 1) || (i > 0 && alphaBar[i] <= alphaBar[i - 1]))
                throw new UsageException(FormattableString.Invariant($"analytic-dpm: alpha-bar[{i}]: expected a rising list from 0 to 1, found {alphaBar[i]}"));
            if (i < n && !(gamma[i] >= 0 && gamma[i] <= 1)) throw new UsageException(FormattableString.Invariant($"analytic-dpm: statistic[{i}]: expected a mean square from 0 to 1, found {gamma[i]}"));
        }

        var evaluations = new Evaluation[n];
        for (int i = 0; i < n; i++)
        {
            double bar = alphaBar[i], next = alphaBar[i + 1], b = 1 - bar, later = 1 - next, a = bar / next;
            double v = posterior ? later / b * (1 - a) : 0, toward = Math.Sqrt(Math.Max(0, later - v));
            double excess = Math.Sqrt(b / a) - toward, variance = v + excess * excess * (1 - gamma[i]);
            evaluations[i] = new Evaluation
            {
                Time = times[i], Step = i, Alpha = Math.Sqrt(bar), Sigma = Math.Sqrt(b), D = Math.Sqrt(next), E = toward, N = i == n - 1 ? 0 : Math.Sqrt(variance),
            };
        }

        return new SamplerPlan { Name = posterior ? "analytic-ddpm" : "analytic-ddim", Prediction = prediction, Evaluations = evaluations, Steps = n, Timesteps = times };
    }

    /// <summary>Gamma at one time from eps at noised images: the mean of eps^2 over everything, no more than 1.</summary>
    public static double Statistic(ReadOnlySpan<double> epsilon)
    {
        double sum = 0;
        foreach (double e in epsilon) sum += e * e;
        return Math.Min(1, sum / epsilon.Length);
    }
}
