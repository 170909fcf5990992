using DiffusionCore.Kernels.Host;
using DiffusionCore.Runtime;

namespace DiffusionCore.Samplers.Schedules;

/// <summary>
/// Placements of noise levels by name, from the model's largest to its least and then zero. Where programs mean different numbers by one name,
/// <see cref="Compatibility"/> tells which.
/// <list type="table">
/// <item>kl_optimal: A1111 has n + 1 levels ending at the least, without a zero; the others n levels and a zero.</item>
/// <item>beta: A1111 takes quantiles in sigma; the others in training steps, rounded, duplicates dropped.</item>
/// <item>ays: A1111 takes the paper's three decimals, n levels and a zero; the others ten decimals, n + 1 levels whose last becomes zero.</item>
/// </list>
/// </summary>
public static class LevelSchedule
{
    private const double BetaShape = 0.6, VpBetaRange = 19.9, VpBetaMinimum = 0.1, VpEpsilon = 1e-3, QuadraticThreshold = 0.025;

    /// <summary>Canonical names.</summary>
    public static IReadOnlyList<string> Names { get; } =
        ["uniform", "normal", "simple", "sgm_uniform", "ddim_uniform", "karras", "exponential", "polyexponential", "beta", "kl_optimal", "linear_quadratic", "vp", "lu", .. AlignYourSteps.Names];

    /// <param name="name">One of <see cref="Names"/>, or a name that users of other programs type: ddim, automatic, align_your_steps, ...</param>
    /// <param name="rho">Of karras (7) and polyexponential (1), where not null.</param>
    /// <exception cref="UsageException">An unknown name, or fewer steps than the schedule needs.</exception>
    public static double[] Build(string name, ModelLevels model, int steps, Compatibility compatibility, double? rho = null)
    {
        if (steps < 1) throw new UsageException($"steps: expected 1 or more, found {steps}");
        if (rho is { } given && !(given > 0 && double.IsFinite(given))) throw new UsageException(FormattableString.Invariant($"rho: expected a positive number, found {given}"));
        string wanted = Canonical(name);
        bool webui = compatibility == Compatibility.A1111;
        double low = model.Minimum, high = model.Maximum;
        return wanted switch
        {
            "uniform" => Zero(Array.ConvertAll(NoiseSchedule.Linspace(model.Steps - 1, 0, steps), model.Sigma)),
            "normal" => Zero(Array.ConvertAll(NoiseSchedule.Linspace(model.Time(high), model.Time(low), steps), model.Sigma)),
            "sgm_uniform" => Zero(Array.ConvertAll(NoiseSchedule.Linspace(model.Time(high), model.Time(low), steps + 1)[..^1], model.Sigma)),
            "simple" => Zero([.. Enumerable.Range(0, steps).Select(i => model.Sigmas[^(1 + (int)(i * ((double)model.Steps / steps)))])]),
            "ddim_uniform" => Zero(EveryNth(model, steps)),
            "karras" => Zero(SigmaSchedule.Karras(low, high, steps, rho ?? 7)),
            "exponential" => Zero(SigmaSchedule.Exponential(low, high, steps)),
            "polyexponential" => Zero(Polyexponential(low, high, steps, rho ?? 1)),
            "lu" => Zero(SigmaSchedule.Lu(low, high, steps)),
            "beta" => Zero(webui ? SigmaSchedule.Beta(low, high, steps, BetaShape, BetaShape) : BetaSteps(model, steps)),
            "kl_optimal" => webui ? Tangents(low, high, steps + 1) : Zero(Tangents(low, high, steps)),
            "linear_quadratic" => LinearQuadratic(high, steps),
            "vp" => Zero(Vp(steps)),
            _ => webui ? Zero(AlignYourSteps.Through(wanted, steps)) : AlignYourSteps.ToZero(wanted, steps),
        };
    }

    /// <summary>The name that this engine has for one that users type.</summary>
    /// <exception cref="UsageException">Unknown.</exception>
    public static string Canonical(string name)
    {
        string plain = name.ToLowerInvariant().Replace(' ', '_').Replace('-', '_');
        plain = plain switch
        {
            "automatic" or "discrete" => "uniform",
            "ddim" => "ddim_uniform",
            "align_your_steps" or "alignyoursteps" => "ays",
            "align_your_steps_sd15" or "ays_sd1" => "ays_sd15",
            "align_your_steps_sdxl" => "ays_sdxl",
            "align_your_steps_svd" => "ays_svd",
            "poly_exponential" => "polyexponential",
            _ => plain,
        };
        return Names.Contains(plain) ? plain : throw new UsageException($"schedule '{name}' is unknown{Suggestion.Hint(name, [.. Names])}");
    }

    /// <summary>Shifts the log-SNR of every level by -2 ln(shift), as for images of another size (Hoogeboom et al. 2023): sigma' = shift*sigma.</summary>
    public static double[] Shift(double[] sigmas, double shift) =>
        shift > 0 && double.IsFinite(shift) ? Array.ConvertAll(sigmas, s => s * shift) : throw new UsageException(FormattableString.Invariant($"shift: expected a positive number, found {shift}"));

    /// <summary>A polynomial of degree rho in ln sigma.</summary>
    private static double[] Polyexponential(double low, double high, int n, double rho)
    {
        double first = DoubleMath.Log(high), last = DoubleMath.Log(low);
        return Array.ConvertAll(NoiseSchedule.Linspace(1, 0, n), r => DoubleMath.Exp(SolverMath.Pow(r, rho) * (first - last) + last));
    }

    /// <summary>Even in arctan sigma: least KL divergence for a Gaussian (Sabour et al. 2024, theorem 3.1).</summary>
    private static double[] Tangents(double low, double high, int n)
    {
        double first = Math.Atan(high), last = Math.Atan(low);
        return Array.ConvertAll(NoiseSchedule.Linspace(0, 1, n), r => Tangent(r * last + (1 - r) * first));

        static double Tangent(double x)
        {
            var (sin, cos) = DoubleMath.SinCos(x);
            return sin / cos;
        }
    }

    // Quantiles of a beta distribution over the training steps (Lee et al. 2024), rounded to whole ones.
    private static double[] BetaSteps(ModelLevels model, int n)
    {
        var levels = new List<double>();
        int last = -1;
        for (int i = 0; i < n; i++)
        {
            int t = (int)Math.Round(SigmaSchedule.BetaQuantile(1 - (double)i / n, BetaShape, BetaShape) * (model.Steps - 1));
            if (t != last) levels.Add(model.Sigmas[t]);
            last = t;
        }

        return [.. levels];
    }

    // Training steps 1, 1 + k, 1 + 2k, ... from the quiet end: what DDIM's authors had.
    private static double[] EveryNth(ModelLevels model, int n)
    {
        int stride = Math.Max(model.Steps / n, 1);
        return [.. Enumerable.Range(0, (model.Steps - 2) / stride + 1).Reverse().Select(i => model.Sigmas[1 + i * stride])];
    }

    // Slow and even over the first half of the steps, quadratic after: levels of rectified flow scaled to the model's largest.
    private static double[] LinearQuadratic(double high, int n)
    {
        if (n == 1) return [high, 0];
        int linear = n / 2, quadratic = n - linear;
        double difference = linear - QuadraticThreshold * n, square = difference / ((double)linear * quadratic * quadratic);
        double slope = QuadraticThreshold / linear - 2 * difference / ((double)quadratic * quadratic), constant = square * linear * linear;
        return [.. Enumerable.Range(0, n + 1).Select(i => high * (1 - (i == n ? 1 : i < linear ? i * QuadraticThreshold / linear : square * i * i + slope * i + constant)))];
    }

    // Even in the time of the continuous VP process.
    private static double[] Vp(int n) =>
        Array.ConvertAll(NoiseSchedule.Linspace(1, VpEpsilon, n), t => Math.Sqrt(SolverMath.ExpM1(VpBetaRange * t * t / 2 + VpBetaMinimum * t)));

    private static double[] Zero(double[] levels) => [.. levels, 0];
}
