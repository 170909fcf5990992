using DiffusionCore.Json;
using DiffusionCore.Models;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers.KDiffusion;

namespace DiffusionCore.Samplers.Authors;

/// <summary>
/// Sampling of networks that are told the noise level and answer the denoised image (NVlabs/edm and edm2): Heun steps with churn over levels that are
/// evenly spaced in sigma^(1/rho) (Karras et al. 2022, algorithm 2), and every sampler on noise levels by its name.
/// </summary>
public sealed record EdmSampling : IOwnSampling
{
    private const string Own = "edm";
    private const int NaturalSteps = 18, MagnitudePreservingSteps = 32;

    public double SigmaMinimum { get; init; } = 0.002;

    public double SigmaMaximum { get; init; } = 80;

    public double Rho { get; init; } = 7;

    public int Steps { get; init; } = NaturalSteps;

    public double Churn { get; init; }

    public double ChurnMinimum { get; init; }

    public double ChurnMaximum { get; init; } = double.PositiveInfinity;

    public double ChurnNoise { get; init; } = 1;

    /// <summary>The churn that Karras et al. 2022 found best for ImageNet at 64x64 (table 5).</summary>
    public static (double Amount, double Minimum, double Maximum, double Noise) ImageNetChurn => (40, 0.05, 50, 1.003);

    /// <summary>Whether a step draws only where it churns (edm2); with churn, edm draws at every step.</summary>
    public bool DrawsWhereItChurns { get; init; }

    public double Guidance { get; init; } = 1;

    /// <summary>The nearest level that a network for discrete steps knows; null where it knows all.</summary>
    public Func<double, double>? Round { get; init; }

    public IReadOnlyList<string> Names { get; } = [Own, .. EdmAblation.Names, .. KSampler.Names];

    public int StepsOf(string? sampler) => Steps;

    /// <summary>As the configuration of a network of edm says: its class bounds the levels, and sampler_kwargs is what the authors' generate.py is told.</summary>
    /// <exception cref="ModelFileException">A field of the wrong type or out of range.</exception>
    public static EdmSampling Read(ConfigFile f, EdmConfig network)
    {
        var (low, high) = f.ClassName switch
        {
            // Of the schedule's first and last time.
            "VPPrecond" => (VpLevel(network, 1e-5), VpLevel(network, 1)),
            "VEPrecond" => (0.02, 100.0),
            _ => (0.0, double.PositiveInfinity),
        };
        double[]? levels = f.ClassName == "iDDPMPrecond" ? DiscreteLevels(network.Steps) : null;
        if (levels is not null) (low, high) = (levels[^2], levels[0]);
        return Common(f, NaturalSteps) with
        {
            SigmaMinimum = Math.Max(0.002, low),
            SigmaMaximum = Math.Min(80, high),
            Round = levels is null ? null : sigma => levels.MinBy(u => Math.Abs(u - sigma)),
        };
    }

    /// <summary>As the configuration of a network of edm2 says.</summary>
    /// <inheritdoc cref="Read"/>
    public static EdmSampling ReadMagnitudePreserving(ConfigFile f) => Common(f, MagnitudePreservingSteps) with { DrawsWhereItChurns = true, Guidance = f.GetDouble("guidance", 1, -1000, 1000) };

    public SamplerPlan? Plan(SamplerOptions options, string? sampler, string? schedule)
    {
        if (SamplerName.Of(Names, sampler) is not { } name) return null;
        if (options.Timesteps is not null) throw new UsageException("timesteps: this network knows noise levels only; give --sigmas");
        SamplerName.RefuseShift(name, options);
        SamplerName.CheckSteps(options, 1);
        if (EdmAblation.Names.Contains(name))
        {
            SamplerName.RefusePlacement(name, options, schedule);
            return EdmAblation.Plan(name, options.Steps, Round, options.SkipSteps);
        }

        var levels = new NoiseLevels(Levels(options, schedule)[options.SkipSteps..], sigma => sigma, ScalesInput: false, Prediction.Sample) { FirstStep = options.SkipSteps };
        if (name == Own)
        {
            if (options.Eta is not null) throw new UsageException("eta: edm has none; it has churn");
            SamplerName.RefuseOrder(name, options);
            return Heun(levels, options);
        }

        var k = options.Levels ?? new KOptions();
        k = k with { Eta = k.Eta ?? options.Eta, Order = options.SolverOrder ?? k.Order };
        if (options.Churn > 0) k = k with { Churn = options.Churn, ChurnMinimum = options.ChurnMinimum, ChurnMaximum = options.ChurnMaximum, NoiseScale = options.ChurnNoise };
        return KSampler.Plan(name, levels, k);
    }

    // Algorithm 2; the last step, to zero, is Euler's.
    private SamplerPlan Heun(NoiseLevels levels, SamplerOptions options)
    {
        levels.Check();
        bool given = options.Churn > 0;
        double churn = given ? options.Churn : Churn, low = given ? options.ChurnMinimum : ChurnMinimum, high = given ? options.ChurnMaximum : ChurnMaximum, scale = given ? options.ChurnNoise : ChurnNoise;
        if (!(churn >= 0 && scale >= 0)) throw new UsageException(FormattableString.Invariant($"churn: expected 0 or more, found {churn} with noise {scale}"));
        var tape = new PlanTape(levels);
        for (int i = 0; i < levels.Steps; i++)
        {
            double now = levels.Sigmas[i], next = levels.Sigmas[i + 1], gamma = now >= low && now <= high ? Math.Min(churn / levels.Steps, Math.Sqrt(2) - 1) : 0;
            double hat = Round is null ? now * (1 + gamma) : Round(now * (1 + gamma));
            if (churn > 0 && (gamma > 0 || !DrawsWhereItChurns)) tape.Noise(i, scale * Math.Sqrt(Math.Max(0, hat * hat - now * now)));
            var euler = levels.At(hat, i) with { X = next / hat, D = 1 - next / hat };
            if (next == 0)
            {
                tape.Add(euler);
                continue;
            }

            tape.Add(euler with { Keep = Kept.Sample });
            tape.Add(levels.At(next, i) with { X = 0.5, E = (next - hat) / 2, History = [new(0, 0.5)] });
        }

        return tape.Plan(Own, slots: 1);
    }

    private double[] Levels(SamplerOptions options, string? schedule)
    {
        if (options.Sigmas is { } given) return schedule is null or "default" ? given : throw new UsageException($"schedule '{schedule}' and an explicit list of levels exclude each other");
        double[] levels = schedule switch
        {
            null or "default" or "karras" => options.Steps == 1 ? [SigmaMaximum] : SigmaSchedule.Karras(SigmaMinimum, SigmaMaximum, options.Steps, options.Rho ?? Rho),
            "exponential" => options.Steps == 1 ? [SigmaMaximum] : SigmaSchedule.Exponential(SigmaMinimum, SigmaMaximum, options.Steps),
            _ => throw new UsageException($"schedule '{schedule}' does not fit this network: use karras or exponential, or give --sigmas"),
        };
        if (Round is not null) levels = Array.ConvertAll(levels, s => Round(s));
        return [.. levels, 0];
    }

    private static EdmSampling Common(ConfigFile f, int steps)
    {
        var k = f.GetOptionalObject("sampler_kwargs") ?? f;
        return new EdmSampling
        {
            Steps = f.GetInt("num_steps", steps, 1, 100_000), Churn = k.GetDouble("S_churn", 0, 0, 1e6), ChurnMinimum = k.GetDouble("S_min", 0, 0, 1e9),
            ChurnMaximum = k.Has("S_max") ? k.GetDouble("S_max", null, 0, 1e9) : double.PositiveInfinity, ChurnNoise = k.GetDouble("S_noise", 1, 0, 1e3), Rho = k.GetDouble("rho", 7, 0.1, 100),
        };
    }

    private static double VpLevel(EdmConfig c, double t) => Math.Sqrt(SolverMath.ExpM1(0.5 * c.BetaRange * t * t + c.BetaMinimum * t));

    /// <summary>The levels of a network for discrete steps, largest first, with a final zero (Karras et al. 2022, table 1, iDDPM).</summary>
    internal static double[] DiscreteLevels(int steps)
    {
        const double Smallest = 0.001, Offset = 0.008;
        var u = new double[steps + 1];
        for (int j = steps; j >= 1; j--) u[j - 1] = Math.Sqrt((u[j] * u[j] + 1) / Math.Max(Bar(j - 1) / Bar(j), Smallest) - 1);
        return u;

        double Bar(int j)
        {
            double s = Kernels.Host.DoubleMath.SinCos(0.5 * Math.PI * j / steps / (Offset + 1)).Sin;
            return s * s;
        }
    }
}
