using DiffusionCore.Kernels.Host;
using DiffusionCore.Runtime;

namespace DiffusionCore.Noise;

/// <summary>A second seed that the first noise of an image is turned towards.</summary>
/// <param name="Seed">Of the first image; image i has Seed + i.</param>
/// <param name="Strength">0 is the image's own noise, 1 the other's.</param>
public sealed record Variation(ulong Seed, double Strength);

/// <summary>
/// The noise of a batch of latents. Drawn channels first, [C, H, W] per image, as the peers do; given channels last. A draw allocates nothing.
/// </summary>
public sealed class LatentNoise
{
    // One draw for a whole request is held in memory.
    private const long MostShared = 1L << 28;

    private readonly NoiseSettings settings;
    private readonly int images, pixels, height, width, channels;
    private readonly INoiseSource[] sources;
    private readonly float[] drawn;
    private int first;

    /// <param name="images">In this batch.</param>
    /// <param name="total">In the whole request; counts where one generator serves them all.</param>
    /// <exception cref="UsageException">One draw for all images would be too large.</exception>
    public LatentNoise(NoiseSettings settings, int images, int total, int height, int width, int channels)
    {
        (this.settings, this.images, this.height, this.width, this.channels) = (settings, images, height, width, channels);
        pixels = height * width;
        bool shared = settings.Seeds == SeedMode.Batch;
        long numbers = (long)(shared ? total : 1) * pixels * channels;
        if (numbers > MostShared) throw new UsageException($"seed mode batch: one draw for {total} images of {width}x{height}x{channels} would hold {numbers} numbers, the most is {MostShared}; use fewer images, or one seed per image");
        drawn = new float[numbers];
        sources = new INoiseSource[shared ? 1 : images];
    }

    /// <summary>Numbers of one image.</summary>
    public int Elements => pixels * channels;

    /// <summary>Sets the generators to their first draw.</summary>
    /// <param name="seeds">One per image; where one generator serves all images, the first is taken to be the request's.</param>
    /// <param name="firstImage">Index of the batch's first image in the request.</param>
    public void Start(ReadOnlySpan<ulong> seeds, int firstImage)
    {
        first = firstImage;
        if (settings.Seeds == SeedMode.Batch) sources[0] = settings.Create(unchecked(seeds[0] - (ulong)firstImage));
        else
            for (int i = 0; i < images; i++) sources[i] = settings.Create(seeds[i]);
    }

    /// <summary>The next noise of each image times <paramref name="deviation"/>, [image][row][column][channel].</summary>
    public void Draw(Span<float> destination, double deviation = 1)
    {
        bool shared = settings.Seeds == SeedMode.Batch;
        if (shared) sources[0].Normal(drawn);
        for (int i = 0; i < images; i++)
        {
            if (!shared) sources[i].Normal(drawn);
            ToChannelsLast(drawn.AsSpan(shared ? (first + i) * Elements : 0, Elements), destination.Slice(i * Elements, Elements), deviation);
        }
    }

    /// <summary>
    /// The first noise of variations: each image's own, turned towards that of another seed along the great circle, column by column as
    /// AUTOMATIC1111's program does (it normalises over rows).
    /// </summary>
    public void DrawVaried(Span<float> destination, Variation variation, double deviation = 1)
    {
        if (settings.Seeds == SeedMode.Batch) throw new UsageException("variations need a seed of their own for each image: use seed mode per-image");
        var other = new float[Elements];
        for (int i = 0; i < images; i++)
        {
            sources[i].Normal(drawn);
            settings.Create(unchecked(variation.Seed + (ulong)(first + i))).Normal(other);
            Slerp(drawn, other, variation.Strength);
            ToChannelsLast(drawn, destination.Slice(i * Elements, Elements), deviation);
        }
    }

    // low becomes sin((1-s)w)/sin(w) * low + sin(s w)/sin(w) * high, w the angle between them, for each channel and column.
    private void Slerp(Span<float> low, ReadOnlySpan<float> high, double strength)
    {
        const double NearlyParallel = 0.9995;
        var cosines = new double[channels * width];
        for (int c = 0; c < channels; c++)
        {
            for (int x = 0; x < width; x++)
            {
                double ll = 0, hh = 0, lh = 0;
                for (int y = 0; y < height; y++)
                {
                    double l = low[(c * height + y) * width + x], h = high[(c * height + y) * width + x];
                    ll += l * l;
                    hh += h * h;
                    lh += l * h;
                }

                cosines[c * width + x] = lh / Math.Sqrt(ll * hh);
            }
        }

        bool parallel = cosines.Average() > NearlyParallel;
        for (int c = 0; c < channels; c++)
        {
            for (int x = 0; x < width; x++)
            {
                double a = strength, b = 1 - strength;              // the weights where there is no angle to speak of, as that program has them
                if (!parallel)
                {
                    double angle = Math.Acos(Math.Clamp(cosines[c * width + x], -1, 1)), sine = DoubleMath.SinCos(angle).Sin;
                    if (sine == 0) continue;
                    (a, b) = (DoubleMath.SinCos((1 - strength) * angle).Sin / sine, DoubleMath.SinCos(strength * angle).Sin / sine);
                }

                for (int y = 0; y < height; y++)
                {
                    int at = (c * height + y) * width + x;
                    low[at] = (float)(a * low[at] + b * high[at]);
                }
            }
        }
    }

    private void ToChannelsLast(ReadOnlySpan<float> from, Span<float> to, double deviation)
    {
        for (int c = 0; c < channels; c++)
            for (int p = 0; p < pixels; p++) to[p * channels + c] = (float)(from[c * pixels + p] * deviation);
    }
}
