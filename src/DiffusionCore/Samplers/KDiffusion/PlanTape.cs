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

    public SamplerPlan Plan(string name, int slots = 0) => new()
    {
        Name = name, Prediction = levels.Prediction, Evaluations = evaluations, Steps = levels.Steps + levels.FirstStep, Slots = slots, Sigmas = levels.Sigmas,
        Timesteps = [.. evaluations.Where(e => e.Evaluates).Select(e => e.Time)], InitialSigma = levels.Maximum, ClipRederivesEpsilon = true,
    };
}
