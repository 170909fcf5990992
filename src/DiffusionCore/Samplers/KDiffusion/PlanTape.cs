namespace DiffusionCore.Samplers.KDiffusion;

/// <summary>Collects the evaluations of a plan on noise levels.</summary>
internal sealed class PlanTape(NoiseLevels levels)
{
    private readonly List<Evaluation> evaluations = [];

    public NoiseLevels Levels => levels;

    public void Add(Evaluation evaluation) => evaluations.Add(evaluation);

    /// <summary>
    /// Noise before the next evaluation. It joins the update before it where that draws none and keeps its result in the latent, and is an
    /// update of its own otherwise.
    /// </summary>
    public void Noise(int step, double amount, (double From, double To)? interval = null)
    {
        if (evaluations.Count > 0 && evaluations[^1] is { DrawsNoise: false, Target: null, Measure: null } last)
        {
            evaluations[^1] = last with { N = amount, DrawsNoise = true, NoiseInterval = interval };
            return;
        }

        Add(levels.Without(step) with { X = 1, N = amount, DrawsNoise = true, NoiseInterval = interval });
    }

    /// <summary>
    /// An update with both branches of guidance, D on the guided estimate and <paramref name="unconditional"/> on the unconditional one. Both are lines
    /// in one number: D*(u + w(c - u)) + U*u = (D + U)*(u + w'(c - u)) with w' = w D/(D + U).
    /// </summary>
    /// <param name="keepSlot">Slot that receives the unconditional estimate, or null.</param>
    public void AddPlusPlus(Evaluation e, double unconditional, int? keepSlot = null)
    {
        double both = e.D + unconditional;
        var update = e with { D = both, Guidance = new GuidanceRule(e.D / both, 0) };
        if (keepSlot is { } slot)
        {
            Add(levels.At(e.Sigma, e.Step - levels.FirstStep) with { D = 1, Target = slot, Guidance = new GuidanceRule(0, 0) });
            update = update with { Evaluates = false, Rereads = true };
        }

        Add(update);
    }

    public SamplerPlan Plan(string name, int slots = 0) => new()
    {
        Name = name, Prediction = levels.Prediction, Evaluations = evaluations, Steps = levels.Steps + levels.FirstStep, Slots = slots, Sigmas = levels.Sigmas,
        Timesteps = [.. evaluations.Where(e => e.Evaluates).Select(e => e.Time)], InitialSigma = levels.Maximum, ClipRederivesEpsilon = true, NeedsUnconditional = evaluations.Exists(e => e.Guidance is not null),
        CombinesBranches = evaluations.Exists(e => e.Guidance is not null),
    };
}
