using System.Diagnostics;
using DiffusionCore.Models;
using DiffusionCore.Noise;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;

namespace DiffusionCore.Pipelines;

/// <summary>Class-conditional and unconditional image generation: noise, denoising steps, pixels.</summary>
public sealed class GeneratePipeline : IDisposable
{
    private const int DefaultBatch = 8;            // 4, 8 and 16 differ by 3 %; 8 keeps both branches of guidance in the last-level cache
    private const int CachedSessions = 3;

    private readonly Device device;
    private readonly WeightStore weights;
    private readonly List<(Key Key, DenoiseSession Session)> sessions = [];     // least recently used first

    public GeneratePipeline(ModelFolder model, Device device)
    {
        Model = model;
        this.device = device;
        weights = device.CreateWeightStore();
    }

    private readonly record struct Key(int Images, int Height, int Width, bool Guided, SamplerPlan Sampler);

    public ModelFolder Model { get; }

    /// <summary>Bytes of weights on the device, known after the first batch.</summary>
    public long WeightBytes => weights.Bytes;

    /// <summary>Makes the images in order and hands each over as soon as its batch is done.</summary>
    /// <param name="report">Called after every evaluation; what it throws ends the run.</param>
    /// <exception cref="UsageException">A request that the model cannot fulfil.</exception>
    /// <exception cref="OperationCanceledException">Cancelled; at most one evaluation was run since.</exception>
    public void Generate(GenerateRequest request, Action<GeneratedImage> finished, Action<GenerateProgress>? report = null, CancellationToken cancellation = default)
    {
        var sampler = Plan(request);
        var (height, width) = Size(request);
        bool guided = Guided(request);
        int batch = request.Batch > 0 ? request.Batch : DefaultBatch;
        for (int first = 0; first < request.Count; first += batch)
        {
            int images = Math.Min(batch, request.Count - first);
            var session = Session(new Key(images, height, width, guided, sampler), request.MemoryLimit);
            var (seeds, labels) = (new ulong[images], new int[images]);
            for (int i = 0; i < images; i++)
            {
                seeds[i] = unchecked(request.Seed + (ulong)(first + i));
                labels[i] = request.Classes.Count > 0 ? request.Classes[(first + i) % request.Classes.Count] : Model.Classes?.NullClass ?? 0;
            }

            cancellation.ThrowIfCancellationRequested();
            session.Start(new DenoiseStart
            {
                Seeds = seeds, FirstImage = first, Total = request.Count, Noise = request.Noise, Variation = request.Variation,
                Classes = labels, NullClass = Model.Classes?.NullClass ?? 0, Guidance = request.Guidance,
            });
            for (int e = 0; e < sampler.Evaluations.Count; e++)
            {
                cancellation.ThrowIfCancellationRequested();
                long start = Stopwatch.GetTimestamp();
                session.Evaluate(e);
                report?.Invoke(new GenerateProgress(first, images, request.Count, e + 1, sampler.Evaluations.Count, Stopwatch.GetElapsedTime(start)));
            }

            cancellation.ThrowIfCancellationRequested();
            var latents = session.Download();
            for (int i = 0; i < images; i++)
            {
                byte[] pixels = Pixels(latents.Slice(i * session.Elements, session.Elements));
                finished(new GeneratedImage(first + i, request.Noise.Seeds == SeedMode.Batch ? request.Seed : seeds[i], request.Classes.Count > 0 ? labels[i] : null, width, height, session.Channels, pixels));
            }
        }
    }

    /// <summary>The sampler of a request as numbers, after checking the request against the model.</summary>
    public SamplerPlan Plan(GenerateRequest request)
    {
        if (request.Count is < 1 or > GenerateRequest.MaximumCount) throw new UsageException($"count: expected 1 to {GenerateRequest.MaximumCount}, found {request.Count}");
        if (request.Batch < 0) throw new UsageException($"batch: expected 0 or more, found {request.Batch}");
        if (!double.IsFinite(request.Guidance)) throw new UsageException($"guidance: expected a finite number, found {request.Guidance}");
        if (request.Classes.Count > 0 && Model.Classes is null) throw new UsageException($"class: {Model.Name} is not conditioned on classes");
        if (request.Classes.Count == 0 && Model.Classes is { NullClass: null }) throw new UsageException($"class: {Model.Name} was trained without a null class; give --class, one of {string.Join(", ", Model.Classes.Names)}");
        if (Guided(request) && Model.Classes!.NullClass is null) throw new UsageException($"guidance: {Model.Name} was trained without a null class, so there is nothing to guide away from; use --guidance 1");
        if (request.Variation is { Strength: not (>= 0 and <= 1) } v) throw new UsageException(FormattableString.Invariant($"variation strength: expected 0 to 1, found {v.Strength}"));
        if (request.Variation is not null && request.Noise.Seeds == SeedMode.Batch) throw new UsageException("variations need a seed of their own for each image: use seed mode per-image");
        int channels = Model.UNet.Config.InChannels;
        if (channels is not (1 or 3 or 4)) throw new ModelFileException(Model.Path, "in_channels", $"{channels} channels are not an image; expected 1, 3 or 4");
        Size(request);
        return Sampler.Plan(Model.Scheduler, request.Options, request.Sampler, request.Schedule);
    }

    /// <summary>The session that a request's batches of this many images run in; for profiling and tests.</summary>
    public DenoiseSession Session(GenerateRequest request, int images)
    {
        var (height, width) = Size(request);
        return Session(new Key(images, height, width, Guided(request), Plan(request)), request.MemoryLimit);
    }

    public void Dispose()
    {
        foreach (var (_, session) in sessions) session.Dispose();
        sessions.Clear();
        weights.Dispose();
    }

    private static bool Guided(GenerateRequest request) => request.Classes.Count > 0 && request.Guidance != 1;

    /// <summary>Height and width of a request's images.</summary>
    /// <exception cref="UsageException">A size that the network cannot make.</exception>
    public (int Height, int Width) Size(GenerateRequest request)
    {
        var config = Model.UNet.Config;
        int multiple = Model.UNet.SizeMultiple;
        int height = request.Height ?? config.SampleHeight ?? throw new UsageException($"size: {Model.Name} does not say its size; give --size WxH");
        int width = request.Width ?? config.SampleWidth ?? throw new UsageException($"size: {Model.Name} does not say its size; give --size WxH");
        if (height < multiple || width < multiple || height % multiple != 0 || width % multiple != 0 || height > 16384 || width > 16384)
            throw new UsageException($"size: expected multiples of {multiple} up to 16384 for {Model.Name}, found {width}x{height}");
        return (height, width);
    }

    private DenoiseSession Session(Key key, long? memoryLimit)
    {
        int found = sessions.FindIndex(s => s.Key.Images == key.Images && s.Key.Height == key.Height && s.Key.Width == key.Width && s.Key.Guided == key.Guided && ReferenceEquals(s.Key.Sampler, key.Sampler));
        if (found >= 0)
        {
            var entry = sessions[found];
            sessions.RemoveAt(found);
            sessions.Add(entry);
            return entry.Session;
        }

        if (sessions.Count == CachedSessions)
        {
            sessions[0].Session.Dispose();
            sessions.RemoveAt(0);
        }

        var session = new DenoiseSession(device, Model, weights, key.Sampler, key.Images, key.Height, key.Width, key.Guided, memoryLimit);
        sessions.Add((key, session));
        return session;
    }

    // [-1, 1] to bytes, nearest.
    private static byte[] Pixels(ReadOnlySpan<float> latent)
    {
        var pixels = new byte[latent.Length];
        for (int i = 0; i < pixels.Length; i++)
        {
            if (!float.IsFinite(latent[i])) throw new NonFiniteException("denoised image", i);
            pixels[i] = (byte)Math.Round(Math.Clamp(latent[i] * 0.5f + 0.5f, 0, 1) * 255);
        }

        return pixels;
    }
}
