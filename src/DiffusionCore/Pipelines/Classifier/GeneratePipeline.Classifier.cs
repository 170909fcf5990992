using System.Runtime.InteropServices;
using DiffusionCore.Samplers;

namespace DiffusionCore.Pipelines;

/// <content>Guidance by a classifier's gradient.</content>
public sealed partial class GeneratePipeline
{
    // The run of a request with its classifier in it.
    private SamplerPlan Steered(GenerateRequest request, SamplerPlan sampler)
    {
        if (request.ClassifierGuidance is not > 0) return sampler;
        var guide = new ClassifierGuide(Model.Denoiser, Model.Classifier!, sampler, request.ClassifierGuidance.Value);
        Model.Guides.Add(guide.Plan, guide);
        return guide.Plan;
    }

    // What the network itself is told: no class, where it knows that and a classifier leads instead.
    private int[] Told(GenerateRequest request, int[] labels) =>
        request.ClassifierGuidance is not null && Model.Classes?.NullClass is { } none ? Array.ConvertAll(labels, _ => none) : labels;

    private static Dictionary<string, byte[]> Steering(GenerateRequest request, int[] labels, Dictionary<string, byte[]> conditions)
    {
        if (request.ClassifierGuidance is not > 0) return conditions;
        long[] ids = Array.ConvertAll(labels, c => (long)c);
        conditions[ClassifierGuide.Labels] = MemoryMarshal.AsBytes(ids.AsSpan()).ToArray();
        return conditions;
    }
}
