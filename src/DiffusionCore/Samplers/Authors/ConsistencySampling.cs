using DiffusionCore.Json;
using DiffusionCore.Kernels.Host;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers.KDiffusion;

namespace DiffusionCore.Samplers.Authors;

/// <summary>
/// Sampling of openai/consistency_models (Song et al. 2023): one step, several with noise between (algorithm 1), and the samplers for the networks that
/// were not distilled. The network answers F; denoised = c_skip*x + c_out*F(c_in*x, 250 ln sigma), with the boundary condition for the first two alone.
/// </summary>
public sealed record ConsistencySampling : IOwnSampling
{
    private const double SigmaMinimum = 0.002, SigmaMaximum = 80, Rho = 7, SigmaData = 0.5, TimeScale = 250, Tiny = 1e-44;
    private const int NaturalSteps = 40;
    private const string Multistep = "multistep", Onestep = "onestep";

    /// <summary>Places of the multistep sampler on the training's grid, rising; the last is the grid's last.</summary>
    public int[] Places { get; init; } = [0, 22, 39];

    /// <summary>Steps of the other samplers.</summary>
    public int Steps { get; init; } = NaturalSteps;

    public double Churn { get; init; }

    /// <summary>Levels between which it churns, and the factor of its noise; without a word about them those that were found for ImageNet.</summary>
    public double ChurnMinimum { get; init; } = EdmSampling.ImageNetChurn.Minimum;

    public double ChurnMaximum { get; init; } = EdmSampling.ImageNetChurn.Maximum;

    public double ChurnNoise { get; init; } = EdmSampling.ImageNetChurn.Noise;

    public bool Clip { get; init; } = true;

    public IReadOnlyList<string> Names { get; } = [Multistep, Onestep, "heun", "dpm", "euler", "ancestral", "progdist"];

    /// <exception cref="ModelFileException">A field of the wrong type or out of range.</exception>
    public static ConsistencySampling Read(ConfigFile f)
    {
        int[] places = f.GetOptionalInts("ts", 0, 1 << 20) ?? [0, 22, 39];
        for (int i = 1; i < places.Length; i++)
            if (places[i] <= places[i - 1]) throw new ModelFileException(f.Path, "ts", $"expected rising numbers, found {places[i - 1]} before {places[i]}");
        if (places.Length < 2) throw new ModelFileException(f.Path, "ts", $"expected 2 or more, found {places.Length}");
        var usual = EdmSampling.ImageNetChurn;
        return new ConsistencySampling
        {
            Places = places, Steps = f.GetInt("steps", NaturalSteps, 1, 100_000), Churn = f.GetDouble("s_churn", 0, 0, 1e6), ChurnMinimum = f.GetDouble("s_tmin", usual.Minimum, 0, 1e9),
            ChurnMaximum = f.GetDouble("s_tmax", usual.Maximum, 0, 1e9), ChurnNoise = f.GetDouble("s_noise", usual.Noise, 0, 1e3), Clip = f.GetBool("clip_denoised", true),
        };
    }

    public int StepsOf(string? sampler) => SamplerName.Of(Names, sampler) switch { Multistep => Places.Length - 1, Onestep => 1, _ => Steps };

    public SamplerPlan? Plan(SamplerOptions options, string? sampler, string? schedule)
    {
        if (SamplerName.Of(Names, sampler) is not { } name) return null;
        SamplerName.RefusePlacement(name, options, schedule);
        SamplerName.CheckSteps(options, 1);
        if (options.Eta is not null) throw new UsageException($"eta: {name} has none");
        if (options.Churn > 0 && name is not ("heun" or "dpm")) throw new UsageException($"churn: {name} has none; it belongs to heun and dpm");
        var plan = name switch
        {
            Multistep => Distilled(name, Grid(options.Steps)),
            Onestep => options.Steps == 1 ? Distilled(name, [SigmaMaximum]) : throw new UsageException($"steps: onestep takes 1, found {options.Steps}; multistep takes more"),
            _ => Trained(name, options),
        };
        if (options.SkipSteps > 0) plan = plan with { Evaluations = [.. plan.Evaluations.Where(e => e.Step >= options.SkipSteps)] };
        return plan with { Clip = Clip ? 1 : double.PositiveInfinity };
    }

    // Levels of the evaluations and, last, the one that remains.
    private double[] Grid(int steps)
    {
        int last = Places[^1];
        double[] places = steps == Places.Length - 1 ? Array.ConvertAll(Places, p => (double)p) : Array.ConvertAll(NoiseSchedule.Linspace(0, last, steps + 1), Math.Round);
        double high = SolverMath.Pow(SigmaMaximum, 1 / Rho), low = SolverMath.Pow(SigmaMinimum, 1 / Rho);
        return Array.ConvertAll(places, p => SolverMath.Pow(high + p / last * (low - high), Rho));
    }

    private static SamplerPlan Distilled(string name, double[] levels)
    {
        int n = Math.Max(1, levels.Length - 1);
        var evaluations = new List<Evaluation>();
        for (int i = 0; i < n; i++)
        {
            double next = levels.Length > 1 ? Math.Clamp(levels[i + 1], SigmaMinimum, SigmaMaximum) : SigmaMinimum;
            evaluations.Add(Read(levels[i], boundary: true) with { Step = i, D = 1, N = Math.Sqrt(next * next - SigmaMinimum * SigmaMinimum), DrawsNoise = levels.Length > 1 });
        }

        return new SamplerPlan
        {
            Name = name, Prediction = Prediction.Epsilon, Evaluations = evaluations, Steps = n, Timesteps = [.. evaluations.Select(e => e.Time)], Sigmas = levels.Length > 1 ? levels : [.. levels, 0],
            InitialSigma = levels[0],
        };
    }

    private SamplerPlan Trained(string name, SamplerOptions options)
    {
        // Progressive distillation stops at the least level; one level more, then, and no zero.
        bool distilled = name == "progdist";
        int count = options.Steps + (distilled ? 1 : 0);
        double[] sigmas = count == 1 ? [SigmaMaximum] : SigmaSchedule.Karras(SigmaMinimum, SigmaMaximum, count, Rho);
        if (!distilled) sigmas = [.. sigmas, 0];
        var levels = new NoiseLevels(sigmas, sigma => sigma, ScalesInput: false, Prediction.Epsilon);
        var k = options.Churn > 0
            ? new KOptions { Churn = options.Churn, NoiseScale = options.ChurnNoise, ChurnMinimum = options.ChurnMinimum, ChurnMaximum = options.ChurnMaximum }
            : name is "heun" or "dpm" ? new KOptions { Churn = Churn, NoiseScale = ChurnNoise, ChurnMinimum = ChurnMinimum, ChurnMaximum = ChurnMaximum } : new KOptions();
        var plan = name switch
        {
            "heun" => KHeun.Plan(levels, k),
            "dpm" => Dpm(levels, k),
            "ancestral" => KEulerAncestral.Plan(levels, k),
            _ => KEuler.Plan(levels, k),
        };
        return plan with { Name = name, Evaluations = [.. plan.Evaluations.Select(e => e.Evaluates ? Told(e, boundary: false) : e)] };
    }

    // A midpoint rule whose middle lies halfway in the cube root of the level.
    private static SamplerPlan Dpm(NoiseLevels levels, KOptions options)
    {
        var tape = new PlanTape(levels);
        for (int i = 0; i < levels.Steps; i++)
        {
            double hat = KMath.Churn(tape, options, i, levels.Sigmas[i], levels.Steps), next = levels.Sigmas[i + 1];
            double root = (SolverMath.Pow(hat, 1.0 / 3) + SolverMath.Pow(next, 1.0 / 3)) / 2, middle = root * root * root;
            tape.Add(levels.At(hat, i) with { X = middle / hat, D = 1 - middle / hat, Keep = Kept.Sample });
            tape.Add(levels.At(middle, i) with { E = next - hat, History = [new(0, 1)] });
        }

        return tape.Plan("dpm", slots: 1);
    }

    private static Evaluation Read(double sigma, bool boundary) => Told(new Evaluation { Time = sigma, Alpha = 1, Sigma = sigma }, boundary);

    private static Evaluation Told(Evaluation e, bool boundary)
    {
        double sigma = e.Sigma, above = boundary ? sigma - SigmaMinimum : sigma, data = SigmaData * SigmaData, root = Math.Sqrt(sigma * sigma + data);
        return e with { Time = TimeScale * DoubleMath.Log(sigma + Tiny), InputScale = 1 / root, Reading = Edm.Denoising(data / (above * above + data), above * SigmaData / root, sigma) };
    }
}
