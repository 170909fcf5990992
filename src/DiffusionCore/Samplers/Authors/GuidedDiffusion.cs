using DiffusionCore.Json;
using DiffusionCore.Kernels.Host;
using DiffusionCore.Models;
using DiffusionCore.Runtime;

namespace DiffusionCore.Samplers.Authors;

/// <summary>
/// Sampling of openai/guided-diffusion (Nichol and Dhariwal 2021; Dhariwal and Nichol 2021): a subset of the training steps with betas made anew from
/// their alpha-bars, ancestral with a learned variance, or DDIM. In double throughout, as published.
/// </summary>
public sealed record GuidedDiffusion : IOwnSampling
{
    private const int NaturalSteps = 250;
    private const double LargestBeta = 0.999;
    private const string AncestralName = "ancestral", DdimName = "ddim", DdimPrefix = "ddim";

    // A variance of zero, as a logarithm that can be multiplied.
    private const double NoVariance = -200;

    public int TrainSteps { get; init; } = 1000;

    /// <summary>cosine, else linear.</summary>
    public bool Cosine { get; init; }

    /// <summary>What is kept of the training steps, in the authors' words: "250", "10,20,30" (of each section), "ddim50" (by a stride); null for all.</summary>
    public string? Respacing { get; init; }

    public bool Ddim { get; init; }

    /// <summary>Whether the network gives the variance between its bounds.</summary>
    public bool LearnedVariance { get; init; }

    /// <summary>Where it is not learned: the posterior's, else beta.</summary>
    public bool SmallVariance { get; init; }

    public bool Clip { get; init; } = true;

    /// <summary>Whether the network is told times out of 1000 whatever the number of training steps.</summary>
    public bool RescaleTimes { get; init; }

    /// <summary>Scale of the classifier's gradient where none is asked for; 0 where there is no classifier.</summary>
    public double ClassifierScale { get; init; }

    public IReadOnlyList<string> Names { get; } = [AncestralName, DdimName];

    /// <exception cref="ModelFileException">A field of the wrong type or out of range.</exception>
    public static GuidedDiffusion Read(ConfigFile f, OpenAiUNetConfig network)
    {
        bool learned = f.GetBool("learn_sigma", network.OutChannels == 2 * network.InChannels);
        if (learned != (network.OutChannels == 2 * network.InChannels)) throw new ModelFileException(f.Path, "learn_sigma", $"is {learned}, but the network has {network.OutChannels} outputs for {network.InChannels} inputs");
        var sampling = new GuidedDiffusion
        {
            TrainSteps = f.GetInt("diffusion_steps", 1000, 1, 1 << 20),
            Cosine = f.GetWord("noise_schedule", "linear", "linear", "cosine") == "cosine",
            Respacing = Text(f, "respacing") ?? Text(f, "timestep_respacing"),
            Ddim = f.GetBool("use_ddim", false),
            LearnedVariance = learned,
            SmallVariance = f.GetBool("sigma_small", false),
            Clip = f.GetBool("clip_denoised", true),
            RescaleTimes = f.GetBool("rescale_timesteps", false),
            ClassifierScale = f.GetDouble("classifier_scale", 0, 0, 1e6),
        };
        try
        {
            _ = sampling.Kept(sampling.Respacing);
        }
        catch (UsageException e)
        {
            throw new ModelFileException(f.Path, "respacing", e.Message, e);
        }

        return sampling;
    }

    public int StepsOf(string? sampler) => Respacing is null ? Math.Min(NaturalSteps, TrainSteps) : Kept(Respacing).Length;

    public SamplerPlan? Plan(SamplerOptions options, string? sampler, string? schedule)
    {
        string? name = sampler is null ? (Ddim ? DdimName : AncestralName) : SamplerName.Of(Names, sampler);
        if (name is null) return null;
        SamplerName.RefusePlacement(name, options, schedule);
        SamplerName.CheckSteps(options, 1, TrainSteps);
        bool ddim = name == DdimName;
        if (!ddim && options.Eta is not null) throw new UsageException("eta: the ancestral sampler has none; it belongs to ddim");
        double eta = options.Eta ?? 0;
        if (!(eta >= 0 && eta <= 1)) throw new UsageException(FormattableString.Invariant($"eta: expected a number from 0 to 1, found {eta}"));
        // The configuration's own subset where as many steps are asked for and the sampler is its own.
        string kept = ddim == Ddim && Respacing is not null && Kept(Respacing).Length == options.Steps ? Respacing
            : FormattableString.Invariant($"{(ddim ? DdimPrefix : "")}{options.Steps}");
        int[] steps = Kept(kept);
        double[] bar = AlphaBar();
        var evaluations = new List<Evaluation>();
        for (int i = steps.Length - 1 - options.SkipSteps; i >= 0; i--)
        {
            var e = ddim ? DdimStep(bar, steps, i, eta) : AncestralStep(bar, steps, i);
            evaluations.Add(e with { Time = RescaleTimes ? steps[i] * (1000.0 / TrainSteps) : steps[i], Step = steps.Length - 1 - i });
        }

        return new SamplerPlan
        {
            Name = name, Prediction = Prediction.Epsilon, Evaluations = evaluations, Steps = steps.Length, Timesteps = [.. evaluations.Select(e => e.Time)],
            Clip = Clip ? 1 : double.PositiveInfinity, ClipRederivesEpsilon = true,
        };
    }

    // Eq. 12 of Song et al. 2021 with eps made anew from the clipped estimate.
    private static Evaluation DdimStep(double[] bar, int[] steps, int i, double eta)
    {
        double now = bar[steps[i]], next = i > 0 ? bar[steps[i - 1]] : 1;
        double deviation = eta * Math.Sqrt((1 - next) / (1 - now) * (1 - now / next));
        return At(now) with { D = Math.Sqrt(next), E = Math.Sqrt(Math.Max(0, 1 - next - deviation * deviation)), N = i > 0 ? deviation : 0, DrawsNoise = eta > 0 };
    }

    private Evaluation AncestralStep(double[] bar, int[] steps, int i)
    {
        var (beta, small) = Variances(bar, steps, i);
        double now = bar[steps[i]], next = i > 0 ? bar[steps[i - 1]] : 1;
        // The posterior's variance is zero at the last step; the next one stands in for its logarithm.
        double least = Log(i > 0 || steps.Length == 1 ? small : Variances(bar, steps, 1).Small), fixedLarge = i > 0 || steps.Length == 1 ? beta : Variances(bar, steps, 1).Small;
        double variance = SmallVariance ? small : fixedLarge;
        return At(now) with
        {
            D = beta * Math.Sqrt(next) / (1 - now),
            X = (1 - next) * Math.Sqrt(1 - beta) / (1 - now),
            N = i == 0 ? 0 : LearnedVariance ? 1 : Math.Sqrt(variance),
            DrawsNoise = true,
            LearnedVariance = i > 0 && LearnedVariance ? (least, Log(beta)) : null,
            MeanVariance = LearnedVariance ? (least, Log(beta)) : (Log(variance), Log(variance)),
        };
    }

    private static (double Beta, double Small) Variances(double[] bar, int[] steps, int i)
    {
        double now = bar[steps[i]], next = i > 0 ? bar[steps[i - 1]] : 1, beta = 1 - now / next;
        return (beta, beta * (1 - next) / (1 - now));
    }

    private static double Log(double variance) => variance > 0 ? DoubleMath.Log(variance) : NoVariance;

    private static Evaluation At(double bar) => new() { Time = 0, Alpha = Math.Sqrt(bar), Sigma = Math.Sqrt(1 - bar) };

    private double[] AlphaBar()
    {
        var bar = new double[TrainSteps];
        double scale = 1000.0 / TrainSteps, product = 1;
        double[] linear = NoiseSchedule.Linspace(scale * 1e-4, scale * 0.02, TrainSteps);
        for (int i = 0; i < TrainSteps; i++)
        {
            double beta = Cosine ? Math.Min(1 - Level((i + 1.0) / TrainSteps) / Level((double)i / TrainSteps), LargestBeta) : linear[i];
            bar[i] = product *= 1 - beta;
        }

        return bar;

        static double Level(double t)
        {
            double c = DoubleMath.Cos((t + 0.008) / 1.008 * Math.PI / 2);
            return c * c;
        }
    }

    // Which training steps are kept, rising.
    private int[] Kept(string? respacing)
    {
        if (string.IsNullOrEmpty(respacing)) return [.. Enumerable.Range(0, TrainSteps)];
        if (respacing.StartsWith(DdimPrefix, StringComparison.Ordinal))
        {
            int wanted = Number(respacing[DdimPrefix.Length..], respacing);
            for (int stride = 1; stride < TrainSteps; stride++)
            {
                int count = (TrainSteps + stride - 1) / stride;
                if (count == wanted) return [.. Enumerable.Range(0, count).Select(i => i * stride)];
            }

            throw new UsageException($"steps: no whole stride makes {wanted} of {TrainSteps} steps; use another number, such as {TrainSteps / Math.Max(1, TrainSteps / wanted)}");
        }

        int[] counts = [.. respacing.Split(',').Select(part => Number(part, respacing))];
        int size = TrainSteps / counts.Length, more = TrainSteps % counts.Length, start = 0;
        var kept = new List<int>();
        for (int section = 0; section < counts.Length; section++)
        {
            int length = size + (section < more ? 1 : 0), count = counts[section];
            if (count > length) throw new UsageException($"respacing: a section of {length} steps cannot be divided into {count}");
            double stride = count <= 1 ? 1 : (length - 1.0) / (count - 1), at = 0;
            for (int i = 0; i < count; i++, at += stride) kept.Add(start + (int)Math.Round(at));
            start += length;
        }

        return [.. kept.Distinct().Order()];
    }

    private static int Number(string text, string all) =>
        int.TryParse(text, System.Globalization.NumberStyles.None, System.Globalization.CultureInfo.InvariantCulture, out int n) && n > 0 ? n : throw new UsageException($"respacing: expected numbers such as 250, 10,20 or ddim50, found '{all}'");

    private static string? Text(ConfigFile f, string field)
    {
        string text = f.GetString(field, "");
        return text.Length == 0 ? null : text;
    }
}
