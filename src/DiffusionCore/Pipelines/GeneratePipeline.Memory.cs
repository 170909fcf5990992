using DiffusionCore.Runtime;
using DiffusionCore.Samplers;

namespace DiffusionCore.Pipelines;

public sealed partial class GeneratePipeline
{
    private long? occupied;

    /// <summary>Bytes that the process takes beside what this pipeline holds; measured before it holds anything.</summary>
    internal long Occupied
    {
        get => occupied ??= device.OccupiedBytes is > 0 and var bytes ? bytes + MemoryBudget.Reserve : 0;
        set => occupied = value;
    }

    /// <summary>What a request's network needs for this many images at once.</summary>
    internal PhaseNeeds DenoisingNeeds(GenerateRequest request, int images)
    {
        var plan = Plan(request);
        return sessions.Needs(new SessionKey(Shape(request, plan, images), plan, request.Shortcuts));
    }

    private MemoryBudget Budget(GenerateRequest request)
    {
        IMemoryHolder?[] parts = [text, condition, firstStage, sessions];
        return new MemoryBudget(device, request.MemoryLimit, Occupied, [.. parts.OfType<IMemoryHolder>()], Note);
    }

    /// <summary>
    /// Goes through the request's phases before anything is loaded: encoding texts and images, denoising, decoding. Each must fit alone; what fits
    /// together stays together, and the rest is given back between phases.
    /// </summary>
    /// <returns>Images per pass: as many of <paramref name="batch"/> as fit with the network's weights in memory; where not even one does, as many as fit with its weights streamed.</returns>
    /// <exception cref="MemoryException">A phase does not fit: says the sizes.</exception>
    private int Fit(GenerateRequest request, SamplerPlan sampler, int height, int width, int batch, MemoryBudget budget)
    {
        int h = height / Model.Factor, w = width / Model.Factor;
        if (text is not null) budget.Check(text.Needs(request.ClipSkip));
        if (condition is not null) budget.Check(condition.Needs);
        if (firstStage is not null)
        {
            if (request.Init is not null) budget.Check(firstStage.EncodingNeeds(height, width));
            firstStage.CheckDecoding(h, w, request.Tiled, budget);
        }

        var shape = Shape(request, sampler, Math.Min(batch, request.Count));
        if (budget.FitsWhole(Needs(shape.Images))) return batch;
        bool whole = budget.FitsWhole(Needs(1));
        int fits = 1, tooMany = shape.Images + (whole ? 0 : 1);
        while (tooMany - fits > 1)
        {
            int middle = (fits + tooMany) / 2;
            var needs = Needs(middle);
            if (whole ? budget.FitsWhole(needs) : budget.Fits(needs)) fits = middle;
            else tooMany = middle;
        }

        budget.Check(Needs(fits));
        if (fits < shape.Images) Note?.Invoke($"{shape.Images} images at once need {MemoryBudget.Megabytes(Needs(shape.Images).All)} of {MemoryBudget.Megabytes(budget.Bytes)}; making {fits} at a time instead");
        return fits;

        // Of a chain of networks, which run one after the other, the largest.
        PhaseNeeds Needs(int images) => Enumerable.Range(0, Model.Stages.Count)
            .Select(stage => sessions.Needs(new SessionKey(shape with { Images = images }, sampler, request.Shortcuts, stage))).MaxBy(n => n.Least);
    }

    private int Tokens(GenerateRequest request, bool guided)
    {
        if (text is null) return Model.Condition?.Length ?? 0;
        int chunks = Math.Max(ChunksOf(request.Prompt, request), guided ? ChunksOf(request.Negative ?? "", request) : 1);
        return chunks * Model.TextEncoders[0].Tokenizer.MaximumLength;
    }
}
