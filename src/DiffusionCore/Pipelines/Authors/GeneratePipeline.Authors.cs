using DiffusionCore.Runtime;
using DiffusionCore.Samplers;

namespace DiffusionCore.Pipelines;

/// <content>Models that bring their own sampling.</content>
public sealed partial class GeneratePipeline
{
    // Null where the model has a scheduler's configuration, or where the sampler is one for any network that predicts noise.
    private SamplerPlan? OwnPlan(SamplerOptions options, GenerateRequest request)
    {
        if (Model.Own is not { } own) return null;
        if (options.Compatibility != Samplers.Schedules.Compatibility.Diffusers) throw new UsageException($"compat: {Model.Name} is sampled as its authors do; leave --compat out");
        if (request.Init is not null && own.UnitRange) throw new UsageException($"init image: {Model.Name} works on images in [0, 1] and does not start from one");
        if (own.Plan(options, request.Sampler, request.Schedule) is { } plan) return plan;
        if (Model.TakesSchedulers) return null;
        throw Samplers.Authors.SamplerName.Unknown(Model.Name, request.Sampler!, own.Names);
    }
}
