using DiffusionCore.Runtime;

namespace DiffusionCore.Pipelines;

/// <content>The former stages of a cascade.</content>
public sealed partial class GeneratePipeline
{
    // Of the former stage's noise, so that two stages do not draw the same numbers; a seed of image i stays its own.
    private const ulong StageSeeds = 2_654_435_769;

    /// <summary>The seed of the stage before the one that has this seed.</summary>
    public static ulong PreviousSeed(ulong seed) => unchecked(seed + StageSeeds) & long.MaxValue;

    // What this stage is asked: a class is left to the stages that know classes, and a small image is the first of a list.
    private GenerateRequest ForStage(GenerateRequest request)
    {
        if (Model.Denoiser is LowResolutionDenoiser && request.LowResolution is { } small) request = request with { SmallImages = [small], LowResolution = null };
        return Model.Previous is not null && Model.Classes is null && request.Classes.Count > 0 ? request with { Classes = [], Guidance = 1 } : request;
    }

    /// <summary>The request with the images of the former stage, which are made here; itself where there is none or they are given.</summary>
    private GenerateRequest WithPrevious(GenerateRequest request, Action<GenerateProgress>? report, CancellationToken cancellation)
    {
        if (Model.Previous is not { } model || request.SmallImages.Count > 0) return request;
        var images = new List<SourceImage>();
        using (var stage = new GeneratePipeline(model, device) { Note = Note })
        {
            stage.Generate(
                PreviousRequest(model, request),
                image => images.Add(new SourceImage(image.Width, image.Height, image.Channels, Array.ConvertAll(image.Pixels, v => v / 255f))), report, cancellation);
        }

        return request with { SmallImages = images };
    }

    private GenerateRequest PreviousRequest(ModelFolder model, GenerateRequest request)
    {
        if (request.Init is not null || request.Mask is not null) throw new UsageException($"init image: the first stage of {Model.Name} makes the images; give the last stage's folder alone with --low-res and --init");
        var previous = request with { Seed = PreviousSeed(request.Seed), NoiseLevel = null, Width = Scaled(request.Width, Model.Denoiser.SampleWidth, model.Denoiser.SampleWidth, model), Height = Scaled(request.Height, Model.Denoiser.SampleHeight, model.Denoiser.SampleHeight, model) };
        if (model.Classes is null && model.Previous is null && previous.Classes.Count > 0) previous = previous with { Classes = [], Guidance = 1 };
        return previous;
    }

    // A size that was asked for, as many times smaller as the stage was trained to be.
    private int? Scaled(int? asked, int? own, int? previous, ModelFolder model)
    {
        if (asked is not { } size || own is not { } from || previous is not { } to) return null;
        int factor = from / (to * model.Factor);
        return factor > 0 && size % factor == 0 ? size / factor : throw new UsageException($"size: expected multiples of {factor}, by which {Model.Name} enlarges, found {size}");
    }
}
