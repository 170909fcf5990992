using System.Diagnostics;
using DiffusionCore.Guidance;
using DiffusionCore.Models;
using DiffusionCore.Noise;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;
using DiffusionCore.Samplers.Authors;
using DiffusionCore.Shortcuts;

namespace DiffusionCore.Pipelines;

/// <summary>Images from noise, classes, texts and images: conditions, denoising steps, decoding, pixels.</summary>
public sealed partial class GeneratePipeline : IDisposable
{
    private const int DefaultPixelBatch = 8;        // 4, 8 and 16 differ by 3 %; 8 keeps both branches of guidance in the last-level cache
    private const int DefaultLatentBatch = 1;       // one latent of usual size fills the machine
    private const int LargestSide = 16384;

    private readonly Device device;
    private readonly TextConditioner? text;
    private readonly FirstStage? firstStage;
    private readonly ConditionEncoder? condition;
    private readonly SessionCache sessions;

    public GeneratePipeline(ModelFolder model, Device device)
    {
        Model = model;
        this.device = device;
        sessions = new SessionCache(device, model);
        if (model.Condition is { } encoded) condition = new ConditionEncoder(device, encoded);
        if (model.TextEncoders.Count > 0) text = new TextConditioner(device, model.TextEncoders, model.ReadsPenultimate);
        if (model.FirstStage is { } stage) firstStage = new FirstStage(device, stage);
    }

    public ModelFolder Model { get; }

    /// <summary>Bytes of weights on the device, known after the first batch.</summary>
    public long WeightBytes => sessions.Weights.Bytes + (text?.Bytes ?? 0) + (condition?.Bytes ?? 0) + (firstStage?.Bytes ?? 0);

    /// <summary>Evaluations of the denoiser, summed over the images, since this pipeline began; both branches of guidance count as one.</summary>
    public long NetworkEvaluations { get; private set; }

    /// <summary>What a request said that has no effect or was cut; set by <see cref="Generate"/>.</summary>
    public Action<string>? Note { get; set; }

    /// <summary>Makes the images in order and hands each over as soon as its batch is done.</summary>
    /// <param name="report">Called after every evaluation; what it throws ends the run.</param>
    /// <exception cref="UsageException">A request that the model cannot fulfil.</exception>
    /// <exception cref="OperationCanceledException">Cancelled; at most one evaluation was run since.</exception>
    public void Generate(GenerateRequest request, Action<GeneratedImage> finished, Action<GenerateProgress>? report = null, CancellationToken cancellation = default)
    {
        var sampler = Plan(request);
        request = WithPrevious(ForStage(request), report, cancellation);
        var (height, width) = Size(request);
        LowResolutionInput.Check(Model, request, height, width);
        int batch = request.Batch > 0 ? request.Batch : firstStage is null ? DefaultPixelBatch : DefaultLatentBatch;
        if (sampler.Adaptive is not null) batch = 1;                       // its steps follow the error of one image
        var budget = Budget(request);
        var coarse = Coarse(request);
        batch = Fit(request, sampler, height, width, batch, budget);
        var conditions = new Conditioning(this, request, Shape(request, sampler, batch), height, width, condition, budget, Note);
        condition?.Release();
        var second = Second(request, sampler, budget);
        using var preview = Previews(request);
        text?.Release();                // the encoders are a tenth of the weights and are not needed again until another prompt comes
        float[]? latent = request.Init is null || Model.ConditionKind == ConditionKind.MaskedImage ? null : Latent(conditions.Init!, height, width, budget);
        for (int first = 0; first < request.Count; first += batch)
        {
            int images = Math.Min(batch, request.Count - first);
            cancellation.ThrowIfCancellationRequested();
            ulong[] seeds = [.. Enumerable.Range(first, images).Select(i => unchecked(request.Seed + (ulong)i))];
            int[] labels = [.. Enumerable.Range(first, images).Select(i => request.Classes.Count > 0 ? request.Classes[i % request.Classes.Count] : Model.Classes?.NullClass ?? 0)];
            var start = new DenoiseStart
            {
                Seeds = seeds, FirstImage = first, Total = request.Count, Noise = request.Noise, Variation = request.Variation, Guidance = request.Guidance,
                Conditioning = Conditions(labels, first, seeds), Latents = Repeated(latent, images),
                Mask = (Model.Text is { Inpaints: true } && !sampler.Fills) || Model.ConditionKind == ConditionKind.MaskedImage ? null : Repeated(conditions.LatentMask, images),
            };
            var shape = conditions.Shape(images);
            float[] latents;                    // of its own: decoding may take the session's memory
            if (Model.Stages.Count > 1)
            {
                latents = DenoiseStages(start, shape, sampler, request, budget, report, cancellation);
            }
            else
            {
                if (coarse is not null) start = start with { Coarse = RunCoarse(coarse, request, shape, start, budget, report, cancellation) };
                var session = sessions.Get(new SessionKey(shape, sampler, request.Shortcuts), budget);
                session.Start(start);
                Run(session, sampler, request, first, FirstOf(second, report), preview, cancellation);
                if (second is not null) session = RunSecond(second, session, sampler, request, first, seeds, labels, report, preview, budget, cancellation);
                latents = session.Download().ToArray();
                Observer?.Invoke(new LatentState(first, 0, sampler.Steps - 1, true), latents);
                shape = session.Shape;
            }

            int elements = latents.Length / images;
            for (int i = 0; i < images; i++)
            {
                cancellation.ThrowIfCancellationRequested();
                byte[] pixels = Pixels(latents.AsSpan(i * elements, elements), shape, request, budget, cancellation);
                ulong seed = request.Noise.Seeds == SeedMode.Batch ? request.Seed : seeds[i];
                finished(new GeneratedImage(first + i, seed, request.Classes.Count > 0 ? labels[i] : null, shape.Width * Model.Factor, shape.Height * Model.Factor, Model.ImageChannels, pixels));
            }
        }

        Dictionary<string, byte[]> Conditions(int[] labels, int first, ulong[] seeds)
        {
            var all = Steering(request, labels, conditions.For(Told(request, labels), first));
            LowResolutionInput.Add(all, Model, request, first, seeds, conditions.Shape(labels.Length));
            return all;
        }
    }

    /// <summary>The sampler of a request as numbers, after checking the request against the model.</summary>
    public SamplerPlan Plan(GenerateRequest request)
    {
        request = ForStage(request);
        RequestCheck.Run(Model, request);
        var (height, width) = Size(request);
        LowResolutionInput.Check(Model, request, height, width);
        if (Model.Previous is { } previous && request.SmallImages.Count == 0) PreviousRequest(previous, request);
        var options = request.Options;
        if (request.Init is not null && Model.ConditionKind != ConditionKind.MaskedImage && !Fills(request.Sampler))
        {
            int steps = options.Timesteps?.Length ?? options.Sigmas?.Length - 1 ?? options.Steps, kept = Math.Min((int)(steps * request.Strength), steps);
            if (kept < 1) throw new UsageException(FormattableString.Invariant($"strength {request.Strength} of {steps} steps leaves none to take; use more of either"));
            options = options with { SkipSteps = steps - kept };
        }

        if (request.Shortcuts.Coarse is { } coarse)
        {
            Coarse(request);
            options = options with { SkipSteps = coarse.Steps };
        }

        var plan = Planned(request, options);
        RequestCheck.Sampler(Model, request, plan);
        if (request.Hires is not null) SecondPlan(request);
        return plan;
    }

    private SamplerPlan Planned(GenerateRequest request, SamplerOptions options)
    {
        var plan = OwnPlan(options, request);
        if (plan is null)
        {
            Sampler.CheckFits(Model.Scheduler, request.Sampler);
            plan = Sampler.Plan(Model.Scheduler, options, request.Sampler, request.Schedule);
        }

        if (request.Forms.Perturbed is { } own && (Model.Own is not null || Model.GuidesItself)) throw new UsageException($"{own.Name}: {Model.Name} is guided as its authors do; leave it out");
        if (request.Forms.Perturbed is { } third && !request.Shortcuts.None) throw new UsageException($"{third.Name}: a perturbed branch and shortcuts exclude each other; leave one of them out");
        if (request.Preview is not null && request.State != DType.F32) throw new UsageException("preview: it looks at latents in f32; use --state f32");
        if (plan.Fills && (request.Init is null || request.Mask is null)) throw new UsageException($"sampler {plan.Name} fills the missing part of an image: it needs an image and a mask; give --init and --mask");
        var guidance = request.AllGuidance;
        guidance.Check();
        bool guided = Guided(request, plan), formed = guidance.Rescale > 0 || guidance.Projected is not null;
        if (formed && !guided) throw new UsageException($"guidance: {(guidance.Rescale > 0 ? "rescaling needs" : "apg needs")} both branches; give a --guidance {(Model.TakesText ? "above" : "other than")} 1 and what it leads towards");
        return Steered(request, guidance.IsPlain ? plan : guidance.Apply(plan));
    }

    /// <summary>The session that a request's batches of this many images run in; for profiling and tests.</summary>
    public DenoiseSession Session(GenerateRequest request, int images)
    {
        var plan = Plan(request);
        return sessions.Get(new SessionKey(Shape(request, plan, images), plan, request.Shortcuts), Budget(request));
    }

    public void Dispose()
    {
        sessions.Dispose();
        text?.Dispose();
        condition?.Dispose();
        firstStage?.Dispose();
    }

    /// <summary>Whether both branches of guidance are evaluated. Samplers that put them together themselves (CFG++) work with scales below 1 too.</summary>
    public bool Guided(GenerateRequest request, SamplerPlan plan) => Model.Own is LatentSampling ? request.AllGuidance.AnyScale(w => w != 1) && Conditioned(request) : Model.GuidesItself ? request.AllGuidance.AnyScale(w => w != 1) : Model.Text is { } t
        ? request.AllGuidance.AnyScale(w => plan.CombinesBranches ? w != 1 : w > 1) && t.Config.TimeConditionChannels == 0
        : request.Classes.Count > 0 && request.AllGuidance.AnyScale(w => w != 1);

    /// <summary>Height and width of a request's images, in pixels.</summary>
    /// <exception cref="UsageException">A size that the network cannot make.</exception>
    public (int Height, int Width) Size(GenerateRequest request)
    {
        request = ForStage(request);
        int factor = Model.Factor, multiple = Model.Denoiser.SizeMultiple * factor;
        int height = request.Height ?? request.Init?.Height ?? request.LowResolution?.Height * factor ?? Model.Denoiser.SampleHeight * factor ?? throw new UsageException($"size: {Model.Name} does not say its size; give --size WxH");
        int width = request.Width ?? request.Init?.Width ?? request.LowResolution?.Width * factor ?? Model.Denoiser.SampleWidth * factor ?? throw new UsageException($"size: {Model.Name} does not say its size; give --size WxH");
        if (height < multiple || width < multiple || height % multiple != 0 || width % multiple != 0 || height > LargestSide || width > LargestSide)
            throw new UsageException($"size: expected multiples of {multiple} up to {LargestSide} for {Model.Name}, found {width}x{height}");
        return (height, width);
    }

    internal TextContext Encode(string prompt, GenerateRequest request, int chunks, MemoryBudget budget) => text!.Encode(prompt, request.PromptSyntax, chunks, request.ClipSkip, budget);

    internal int ChunksOf(string prompt, GenerateRequest request) => text!.ChunksOf(prompt, request.PromptSyntax);

    /// <summary>The latent of one image [Height, Width, channels] in [-1, 1].</summary>
    internal float[] Latent(float[] image, int height, int width, MemoryBudget budget) => firstStage is null ? image : firstStage.Encode(image, height, width, budget);

    // Pictures on the way must not take the session's memory. Of a chain of networks with as many evaluations each, stage is the index.
    private void Run(DenoiseSession session, SamplerPlan sampler, GenerateRequest request, int first, Action<GenerateProgress>? report, LatentPreview? preview, CancellationToken cancellation, int stage = 0)
    {
        sessions.InUse = session;
        try
        {
            Evaluate(session, sampler, request, first, report, preview, stage, cancellation);
        }
        finally
        {
            sessions.InUse = null;
        }
    }

    private void Evaluate(DenoiseSession session, SamplerPlan sampler, GenerateRequest request, int first, Action<GenerateProgress>? report, LatentPreview? preview, int stage, CancellationToken cancellation)
    {
        if (sampler.Adaptive is not null)
        {
            RunAdaptive(session, request, first, report, preview, cancellation);
            return;
        }

        int evaluations = sampler.Evaluations.Count;
        for (int e = 0; e < evaluations; e++)
        {
            cancellation.ThrowIfCancellationRequested();
            long start = Stopwatch.GetTimestamp();
            var next = e + 1 < evaluations ? sampler.Evaluations[e + 1] : null;
            bool ends = next is null || next.Step != sampler.Evaluations[e].Step;
            session.KeepsDenoised = ends && preview is not null && preview.IsDue(sampler.Evaluations[e].Step + 1);
            session.Evaluate(e);
            if (sampler.Evaluations[e].Evaluates) NetworkEvaluations += session.Images;
            if (ends) session.KeepUnmasked(next);
            if (session.KeepsDenoised) preview!.Show(session, first, sampler.Evaluations[e].Step + 1, sampler.Evaluations[^1].Step + 1, cancellation);
            if (ends) Observer?.Invoke(new LatentState(first, stage, sampler.Evaluations[e].Step, false), session.Download());
            report?.Invoke(new GenerateProgress(first, session.Images, request.Count, stage * evaluations + e + 1, Model.Stages.Count * evaluations, Stopwatch.GetElapsedTime(start)));
        }

        cancellation.ThrowIfCancellationRequested();
    }

    // How many evaluations there will be is known at the end only.
    private void RunAdaptive(DenoiseSession session, GenerateRequest request, int first, Action<GenerateProgress>? report, LatentPreview? preview, CancellationToken cancellation)
    {
        int done = 0;
        var took = TimeSpan.Zero;
        while (true)
        {
            cancellation.ThrowIfCancellationRequested();
            long start = Stopwatch.GetTimestamp();
            session.KeepsDenoised = preview is not null && preview.IsDue(done + 1);
            if (session.Next() is not { } e) break;
            if (!e.Evaluates) continue;
            took = Stopwatch.GetElapsedTime(start);
            NetworkEvaluations += session.Images;
            if (session.KeepsDenoised) preview!.Show(session, first, done + 1, null, cancellation);
            report?.Invoke(new GenerateProgress(first, session.Images, request.Count, ++done, done + 1, took));
        }

        report?.Invoke(new GenerateProgress(first, session.Images, request.Count, done, done, took));
    }

    // Samplers that fill the missing part of an image start from noise, whatever the strength.
    private bool Fills(string? sampler) => Sampler.FillsImages(sampler ?? Model.Scheduler.ClassName);

    private SessionShape Shape(GenerateRequest request, SamplerPlan plan, int images)
    {
        var (height, width) = Size(request);
        bool guided = Guided(request, plan);
        return new SessionShape(images, height / Model.Factor, width / Model.Factor, guided) { Tokens = Tokens(request, guided), Perturbed = request.Forms.Perturbed, State = request.State };
    }

    private static float[]? Repeated(float[]? one, int images)
    {
        if (one is null) return null;
        var all = new float[images * one.Length];
        for (int i = 0; i < images; i++) one.CopyTo(all, i * one.Length);
        return all;
    }

    private byte[] Pixels(ReadOnlySpan<float> latent, SessionShape shape, GenerateRequest request, MemoryBudget budget, CancellationToken cancellation)
    {
        for (int i = 0; i < latent.Length; i++)
            if (!float.IsFinite(latent[i])) throw new NonFiniteException(firstStage is null ? "denoised image" : "denoised latent", i);
        var image = firstStage is null ? latent : firstStage.Decode(latent, shape.Height, shape.Width, budget, request.Tiled, Note, cancellation);
        return Model.Bytes(image);
    }
}
