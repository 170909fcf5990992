using System.Globalization;
using DiffusionCore.Runtime;

namespace DiffusionCore.Noise;

/// <summary>Whose random numbers are drawn.</summary>
public enum NoiseKind
{
    /// <summary>PyTorch's CPU generator: the default of diffusers.</summary>
    TorchCpu,

    /// <summary>PyTorch's CUDA generator on a given GPU.</summary>
    TorchCuda,

    /// <summary>The CUDA generator as if the GPU had a thread for every number: the "NV" source of AUTOMATIC1111's program.</summary>
    Nv,
}

/// <summary>What one seed stands for.</summary>
public enum SeedMode
{
    /// <summary>One generator per image, seeded with seed + index: an image does not depend on how many are made with it.</summary>
    PerImage,

    /// <summary>One generator draws for all images of the request at once, as diffusers does with a single generator.</summary>
    Batch,
}

/// <summary>Where the noise comes from. Equal settings and seeds give equal noise on every device.</summary>
public sealed record NoiseSettings
{
    private const string Cpu = "torch-cpu", Cuda = "torch-cuda", NvName = "nv";
    private const int MostMultiprocessors = 4096, LeastThreads = 256, MostThreads = 4096;

    public NoiseKind Kind { get; init; }

    /// <summary>Of the GPU whose numbers are wanted; for <see cref="NoiseKind.TorchCuda"/> only.</summary>
    public int Multiprocessors { get; init; }

    /// <summary>Threads that fit one multiprocessor: 2048 on data-centre GPUs, 1536 on most others since Ampere.</summary>
    public int ThreadsPerMultiprocessor { get; init; } = 2048;

    /// <summary>The type that is drawn; each has a stream of its own on the CPU generator, and is a rounding on the CUDA ones.</summary>
    public DType Type { get; init; } = DType.F32;

    public SeedMode Seeds { get; init; }

    /// <summary>A caller's own generator by seed, in place of those above.</summary>
    public Func<ulong, INoiseSource>? Custom { get; init; }

    /// <summary>The generator's name as the command line takes it.</summary>
    public string Name => Custom is not null ? "custom" : Kind switch
    {
        NoiseKind.TorchCpu => Cpu,
        NoiseKind.TorchCuda => string.Create(CultureInfo.InvariantCulture, $"{Cuda}:{Multiprocessors},{ThreadsPerMultiprocessor}"),
        _ => NvName,
    };

    public override string ToString() => $"{Name} {Type.ToString().ToLowerInvariant()}{(Seeds == SeedMode.Batch ? " one draw" : "")}";

    /// <param name="source">torch-cpu, torch-cuda:MULTIPROCESSORS,THREADS or nv.</param>
    /// <param name="type">f32, f64, f16 or bf16.</param>
    /// <param name="seeds">per-image or batch.</param>
    /// <exception cref="UsageException">None of these.</exception>
    public static NoiseSettings Parse(string source, string type, string seeds)
    {
        var settings = new NoiseSettings
        {
            Type = type.ToLowerInvariant() switch
            {
                "f32" => DType.F32,
                "f64" => DType.F64,
                "f16" => DType.F16,
                "bf16" => DType.BF16,
                _ => throw new UsageException($"noise type '{type}' is unknown; use f32, f64, f16 or bf16"),
            },
            Seeds = seeds.ToLowerInvariant() switch
            {
                "per-image" => SeedMode.PerImage,
                "batch" => SeedMode.Batch,
                _ => throw new UsageException($"seed mode '{seeds}' is unknown; use per-image or batch"),
            },
        };
        string name = source.ToLowerInvariant();
        if (name == Cpu) return settings;
        if (name == NvName) return Floats(settings with { Kind = NoiseKind.Nv });
        string[] numbers = name.StartsWith(Cuda + ":", StringComparison.Ordinal) ? name[(Cuda.Length + 1)..].Split(',') : [];
        if (numbers.Length == 2 && Number(numbers[0], 1, MostMultiprocessors, out int multiprocessors) && Number(numbers[1], LeastThreads, MostThreads, out int threads))
            return Floats(settings with { Kind = NoiseKind.TorchCuda, Multiprocessors = multiprocessors, ThreadsPerMultiprocessor = threads });
        if (name.StartsWith(Cuda, StringComparison.Ordinal))
            throw new UsageException($"noise '{source}': expected {Cuda}:MULTIPROCESSORS,THREADS such as {Cuda}:108,2048 (A100) or {Cuda}:128,1536 (RTX 4090), with up to {MostMultiprocessors} multiprocessors and {LeastThreads} to {MostThreads} threads each");
        throw new UsageException($"noise '{source}' is unknown; use {Cpu}, {Cuda}:MULTIPROCESSORS,THREADS or {NvName}");

        static bool Number(string text, int minimum, int maximum, out int value) =>
            int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out value) && value >= minimum && value <= maximum;

        static NoiseSettings Floats(NoiseSettings s) =>
            s.Type != DType.F64 ? s : throw new UsageException("noise type f64 belongs to torch-cpu; the CUDA generators draw f32, f16 or bf16");
    }

    /// <summary>A generator for one seed.</summary>
    public INoiseSource Create(ulong seed)
    {
        if (Custom is not null) return Custom(seed);
        if (Kind != NoiseKind.TorchCpu)
        {
            var generator = new TorchCudaGenerator(seed, Kind == NoiseKind.Nv ? 0 : Multiprocessors, ThreadsPerMultiprocessor);
            return Type == DType.F32 ? generator : new Rounded(generator, Type);
        }

        var torch = new TorchCpuGenerator(seed);
        return Type switch
        {
            DType.F32 => torch,
            DType.F64 => new Narrowed(torch),
            _ => new Typed(torch, Type),
        };
    }

    private sealed class Typed(TorchCpuGenerator generator, DType type) : INoiseSource
    {
        public void Normal(Span<float> destination) => generator.Normal(destination, type);
    }

    // Drawn in double, kept in float: what a float latent takes of a double draw.
    private sealed class Narrowed(TorchCpuGenerator generator) : INoiseSource
    {
        private double[] drawn = [];

        public void Normal(Span<float> destination)
        {
            if (drawn.Length < destination.Length) drawn = new double[destination.Length];      // the first draw of a run has the size of all others
            generator.Normal(drawn.AsSpan(0, destination.Length));
            for (int i = 0; i < destination.Length; i++) destination[i] = (float)drawn[i];
        }
    }

    // The CUDA generator computes half types in float and rounds the result.
    private sealed class Rounded(TorchCudaGenerator generator, DType type) : INoiseSource
    {
        public void Normal(Span<float> destination)
        {
            generator.Normal(destination);
            foreach (ref float v in destination) v = type == DType.F16 ? (float)(Half)v : Brain(v);
        }

        // To nearest, ties to even; normal numbers are finite.
        private static float Brain(float v)
        {
            uint bits = BitConverter.SingleToUInt32Bits(v);
            return BitConverter.UInt32BitsToSingle((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000);
        }
    }
}
