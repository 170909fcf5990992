using DiffusionCore.Json;
using DiffusionCore.Kernels.Host;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers.Ode;
using DiffusionCore.Samplers.Sde;

namespace DiffusionCore.Samplers.Authors;

/// <summary>Which process a score network belongs to.</summary>
public enum ScoreSde
{
    VariancePreserving,
    SubVariancePreserving,
    VarianceExploding,
}

/// <summary>What moves the samples at one time before the predictor does.</summary>
public enum ScoreCorrector
{
    None,

    /// <summary>Step sizes by the norms of score and noise (Song et al. 2021, algorithms 4 and 5).</summary>
    Langevin,

    /// <summary>Step sizes by the noise level (annealed Langevin dynamics, Song and Ermon 2019).</summary>
    Annealed,
}

/// <summary>
/// Sampling of yang-song/score_sde (Song et al. 2021) on the authors' grids: predictor-corrector and the probability flow by RK45. The last predictor's
/// noise is left out where the configuration removes noise. Where <see cref="PredictorCorrector"/> reads a process at each time, the published
/// discretisations look betas and noise levels up in tables of N entries, which differ near the end.
/// </summary>
public sealed record ScoreSampling : IOwnSampling
{
    private const string PredictorCorrectorName = "pc", FlowName = "ode";
    private const double Tolerance = 1e-5;

    public ScoreSde Sde { get; init; }

    public double BetaMinimum { get; init; } = 0.1;

    public double BetaMaximum { get; init; } = 20;

    public double SigmaMinimum { get; init; } = 0.01;

    public double SigmaMaximum { get; init; } = 50;

    public int Steps { get; init; } = 1000;

    /// <summary>Entries of the table that a network for discrete steps was trained with.</summary>
    public int Scales { get; init; } = 1000;

    public Predictor Predictor { get; init; } = Predictor.ReverseDiffusion;

    public ScoreCorrector Corrector { get; init; }

    public double Ratio { get; init; } = 0.16;

    /// <summary>Corrector steps at each time.</summary>
    public int Corrections { get; init; } = 1;

    /// <summary>Time at which the run ends.</summary>
    public double Last { get; init; }

    /// <summary>Whether the predictor follows the probability flow, without noise.</summary>
    public bool Flow { get; init; }

    /// <summary>Whether the network takes any time; where false, it was trained at Scales steps and is told their number.</summary>
    public bool Continuous { get; init; }

    public bool RemovesNoise { get; init; } = true;

    public bool UnitRange { get; init; }

    public IReadOnlyList<string> Names { get; } = [PredictorCorrectorName, FlowName];

    private bool Explodes => Sde == ScoreSde.VarianceExploding;

    /// <summary>The process as functions of time.</summary>
    public ScoreProcess Process => Sde switch
    {
        ScoreSde.VariancePreserving => ScoreProcess.VariancePreserving(BetaMinimum, BetaMaximum),
        ScoreSde.SubVariancePreserving => ScoreProcess.SubVariancePreserving(BetaMinimum, BetaMaximum),
        _ => ScoreProcess.VarianceExploding(SigmaMinimum, SigmaMaximum),
    };

    /// <exception cref="ModelFileException">A field is missing, of the wrong type, out of range or unknown.</exception>
    public static ScoreSampling Read(ConfigFile f)
    {
        var all = f.GetOptionalObject("config") ?? f;
        ConfigFile training = all.GetOptionalObject("training") ?? f, model = all.GetOptionalObject("model") ?? f, sampling = all.GetOptionalObject("sampling") ?? f, data = all.GetOptionalObject("data") ?? f;
        string sde = f.Has("sde") ? f.GetWord("sde", null, "vp", "subvp", "ve") : training.GetWord("sde", "vpsde", "vpsde", "subvpsde", "vesde")[..^3];
        string predictor = Of("predictor").GetWord("predictor", "reverse_diffusion", "reverse_diffusion", "euler_maruyama", "ancestral_sampling", "none");
        string corrector = Of("corrector").GetWord("corrector", "none", "langevin", "ald", "none");
        if (sde == "subvp" && predictor == "ancestral_sampling") throw new ModelFileException(f.Path, "predictor", "ancestral_sampling is not defined for the sub-VP process; use euler_maruyama or reverse_diffusion");
        if (predictor == "none" && corrector == "none") throw new ModelFileException(f.Path, "predictor", "neither a predictor nor a corrector is named");
        int scales = model.GetInt("num_scales", 1000, 2, 1 << 20);
        return new ScoreSampling
        {
            Sde = sde switch { "vp" => ScoreSde.VariancePreserving, "subvp" => ScoreSde.SubVariancePreserving, _ => ScoreSde.VarianceExploding },
            BetaMinimum = model.GetDouble("beta_min", 0.1, 1e-9, 1e6), BetaMaximum = model.GetDouble("beta_max", 20, 1e-9, 1e6),
            SigmaMinimum = model.GetDouble("sigma_min", 0.01, 1e-9, 1e6), SigmaMaximum = model.GetDouble("sigma_max", 50, 1e-9, 1e6),
            Scales = scales, Steps = f.GetInt("N", scales, 2, 1 << 20),
            Predictor = predictor switch { "euler_maruyama" => Predictor.EulerMaruyama, "ancestral_sampling" => Predictor.Ancestral, "none" => Predictor.None, _ => Predictor.ReverseDiffusion },
            Corrector = corrector switch { "langevin" => ScoreCorrector.Langevin, "ald" => ScoreCorrector.Annealed, _ => ScoreCorrector.None },
            Ratio = Of("snr").GetDouble("snr", 0.16, 0, 10), Corrections = Of("n_steps_each").GetInt("n_steps_each", 1, 1, 1000),
            Last = f.GetDouble("eps", sde == "ve" ? 1e-5 : 1e-3, 1e-12, 0.999), Flow = Of("probability_flow").GetBool("probability_flow", false),
            Continuous = f.Has("continuous") ? f.GetBool("continuous", null) : training.GetBool("continuous", true), RemovesNoise = sampling.GetBool("noise_removal", true),
            UnitRange = !data.GetBool("centered", false),
        };

        ConfigFile Of(string field) => f.Has(field) ? f : sampling;
    }

    public int StepsOf(string? sampler) => Steps;

    public SamplerPlan? Plan(SamplerOptions options, string? sampler, string? schedule)
    {
        string? name = sampler is not null && Sampler.Plain(sampler) == "rk45" ? FlowName : SamplerName.Of(Names, sampler);
        if (name is null) return null;
        SamplerName.RefusePlacement(name, options, schedule);
        if (options.Eta is not null || options.Churn > 0) throw new UsageException($"eta, churn: {name} has neither");
        if (name == FlowName) return FlowPlan();
        SamplerName.CheckSteps(options, 2);
        if (!Explodes && BetaMaximum >= options.Steps && (Corrector != ScoreCorrector.None || Predictor is Predictor.ReverseDiffusion or Predictor.Ancestral) && Sde == ScoreSde.VariancePreserving)
            throw new UsageException(FormattableString.Invariant($"steps: beta of this process reaches {BetaMaximum}; a step's share beta/steps must stay below 1: use more than {BetaMaximum} steps, found {options.Steps}"));
        return PlanOf(options);
    }

    private SamplerPlan PlanOf(SamplerOptions options)
    {
        int n = options.Steps;
        double[] times = NoiseSchedule.Linspace(1, Last, n);
        var process = Process;
        var evaluations = new List<Evaluation>();
        for (int i = options.SkipSteps; i < n; i++)
        {
            double t = times[i];
            // Tables of n entries, and the entry that a time falls to.
            int entry = (int)(t * (n - 1));
            double share = (double)entry / (n - 1), beta = (BetaMinimum + share * (BetaMaximum - BetaMinimum)) / n;
            double level = SigmaMinimum * SolverMath.Pow(SigmaMaximum / SigmaMinimum, share), below = entry == 0 ? 0 : SigmaMinimum * SolverMath.Pow(SigmaMaximum / SigmaMinimum, (entry - 1.0) / (n - 1));
            var at = At(t, i);
            double deviation = Scale(t), alpha = Explodes ? 1 : 1 - beta;
            for (int c = 0; c < Corrections && Corrector != ScoreCorrector.None; c++)
            {
                evaluations.Add(Corrector == ScoreCorrector.Langevin
                    ? at with { X = 1, E = -alpha * deviation, N = Math.Sqrt(alpha) * deviation, DrawsNoise = true, LangevinRatio = Ratio }
                    : Annealed(at, process.Deviation(t), deviation, alpha));
            }

            if (Predictor == Predictor.None) continue;
            double gap = level * level - below * below, dt = 1.0 / n, half = Flow ? 0.5 : 1, drift = process.Drift(t), diffusion = process.Diffusion(t);
            // x' = keep x + gain s + noise z.
            var (keep, gain, noise) = Predictor switch
            {
                Predictor.Ancestral when Explodes => (1, gap, level > 0 ? Math.Sqrt(below * below * gap) / level : 0),
                Predictor.Ancestral => (1 / Math.Sqrt(1 - beta), beta / Math.Sqrt(1 - beta), Math.Sqrt(beta)),
                Predictor.ReverseDiffusion when Explodes => (1, half * gap, Flow ? 0 : Math.Sqrt(gap)),
                Predictor.ReverseDiffusion when Sde == ScoreSde.VariancePreserving => (2 - Math.Sqrt(1 - beta), half * beta, Flow ? 0 : Math.Sqrt(beta)),
                _ => (1 - drift * dt, half * diffusion * dt, Flow ? 0 : Math.Sqrt(diffusion * dt)),
            };
            bool last = i == n - 1 && RemovesNoise;
            evaluations.Add(at with { X = keep, E = -gain / deviation, N = last ? 0 : noise, DrawsNoise = !last });
        }

        return new SamplerPlan
        {
            Name = PredictorCorrectorName, Prediction = Prediction.Epsilon, Evaluations = evaluations, Steps = n, Timesteps = [.. evaluations.Select(e => e.Time)],
            InitialSigma = Explodes ? SigmaMaximum : 1, BatchNorms = options.BatchNorms,
        };
    }

    private Evaluation Annealed(Evaluation at, double level, double scale, double alpha)
    {
        double size = 2 * alpha * Ratio * Ratio * level * level;
        return at with { X = 1, E = -size / scale, N = Math.Sqrt(2 * size), DrawsNoise = true };
    }

    // dx/dt = drift x - diffusion/2 score, from time 1 to the last.
    private SamplerPlan FlowPlan()
    {
        var process = Process;
        return new SamplerPlan
        {
            Name = FlowName, Prediction = Prediction.Epsilon, Evaluations = [], Steps = 1, Timesteps = [], Slots = FlowRun.Slots, InitialSigma = Explodes ? SigmaMaximum : 1, Sigmas = [process.Deviation(1), process.Deviation(Last)],
            Adaptive = () => new FlowRun(
                (t, step) => At(t, step) with { X = process.Drift(t), E = 0.5 * process.Diffusion(t) / Scale(t) },
                step => new Evaluation { Time = 0, Step = step, Alpha = 1, Sigma = 1, Evaluates = false }, 1, Last, Tolerance, Tolerance),
        };
    }

    /// <summary>An evaluation at a time, without an update yet: eps is minus the score times <see cref="Scale"/>.</summary>
    public Evaluation At(double t, int step)
    {
        var process = Process;
        double alpha = process.Mean(t), scale = Scale(t), deviation = process.Deviation(t);
        var e = new Evaluation { Time = TimeOf(t), Step = step, Alpha = alpha, Sigma = deviation };
        // The network of the exploding process answers the score itself; the others answer -score * Scale.
        double answer = Explodes ? -scale : 1;
        return e with { Reading = new StepNumbers(1 / alpha, -deviation * deviation / scale * answer / alpha, 0, answer, 1 / deviation, -alpha / deviation) };
    }

    /// <summary>What the network is told at a time.</summary>
    public double TimeOf(double t) => Explodes
        ? Continuous ? Process.Deviation(t) : Math.Round((1 - t) * (Scales - 1))
        : t * (Continuous || Sde == ScoreSde.SubVariancePreserving ? 999 : Scales - 1);

    /// <summary>What divides the network's answer to give the score: the deviation, of the table where the network was trained on one.</summary>
    public double Scale(double t)
    {
        if (Explodes || Continuous || Sde == ScoreSde.SubVariancePreserving) return Process.Deviation(t);
        double product = 1;
        for (int i = 0; i <= (int)(t * (Scales - 1)); i++) product *= 1 - (BetaMinimum + (double)i / (Scales - 1) * (BetaMaximum - BetaMinimum)) / Scales;
        return Math.Sqrt(1 - product);
    }
}
