using DiffusionCore.Kernels.Host;
using DiffusionCore.Runtime;

namespace DiffusionCore.Noise;

/// <summary>
/// The normal numbers of PyTorch's CPU generator: Mersenne Twister (Matsumoto and Nishimura 1998) seeded with the low 32 bits, Box-Muller.
/// A draw of 16 or more fills uniforms and transforms blocks of eight pairs; a shorter one works in double, one number at a time, keeping the
/// second of each pair for the next. Every intermediate of a block is rounded to the type drawn, so each type has a stream of its own.
/// Logarithm and sine are this engine's own, so every platform gives the same bytes; the peer's differ in the last bit here and there.
/// </summary>
public sealed class TorchCpuGenerator : INoiseSource
{
    private const int N = 624;
    private const int M = 397;
    private const int Block = 16;
    private const double Unit24 = 1.0 / (1 << 24), Unit53 = 1.0 / (1UL << 53);

    private readonly uint[] state = new uint[N];
    private int position = N;
    private double? pending;

    public TorchCpuGenerator(ulong seed)
    {
        Seed = seed;
        state[0] = (uint)seed;
        for (uint i = 1; i < N; i++) state[i] = 1812433253u * (state[i - 1] ^ (state[i - 1] >> 30)) + i;
    }

    public ulong Seed { get; }

    /// <summary>The next 32 random bits.</summary>
    public uint Next32()
    {
        if (position == N) Refill();
        uint y = state[position++];
        y ^= y >> 11;
        y ^= (y << 7) & 0x9D2C5680;
        y ^= (y << 15) & 0xEFC60000;
        return y ^ (y >> 18);
    }

    /// <summary>The next 64 random bits, the first draw on top.</summary>
    public ulong Next64()
    {
        ulong high = Next32();
        return (high << 32) | Next32();
    }

    /// <summary>Uniform numbers from [0, 1) with 24 bits each.</summary>
    public void Uniform(Span<float> destination)
    {
        foreach (ref float v in destination) v = (float)((Next32() & ((1u << 24) - 1)) * Unit24);
    }

    public void Normal(Span<float> destination) => Draw<float, Single>(destination);

    /// <summary>A draw in double precision.</summary>
    public void Normal(Span<double> destination) => Draw<double, Double>(destination);

    /// <summary>What a draw of the given type holds, as float.</summary>
    /// <param name="type">F32, F16 or BF16.</param>
    public void Normal(Span<float> destination, DType type)
    {
        switch (type)
        {
            case DType.F32: Draw<float, Single>(destination); break;
            case DType.F16: Draw<float, Half16>(destination); break;
            case DType.BF16: Draw<float, Brain16>(destination); break;
            default: throw new ArgumentOutOfRangeException(nameof(type), type, "expected F32, F16 or BF16");
        }
    }

    private void Draw<T, TType>(Span<T> destination)
        where T : unmanaged
        where TType : struct, IDrawn<T>
    {
        if (destination.Length < Block)
        {
            foreach (ref T v in destination) v = TType.Store(TType.Round(NormalDouble()));
            return;
        }

        foreach (ref T v in destination) v = TType.Store(TType.Uniform(this));
        int i = 0;
        for (; i + Block <= destination.Length; i += Block) Transform<T, TType>(destination.Slice(i, Block));
        if (i < destination.Length)
        {
            // The last sixteen are drawn anew, over what the last whole block had left there.
            var last = destination[^Block..];
            foreach (ref T v in last) v = TType.Store(TType.Uniform(this));
            Transform<T, TType>(last);
        }
    }

    private static void Transform<T, TType>(Span<T> d)
        where T : unmanaged
        where TType : struct, IDrawn<T>
    {
        for (int j = 0; j < Block / 2; j++)
        {
            double u1 = TType.Round(1 - TType.Load(d[j])), u2 = TType.Load(d[j + Block / 2]);
            double radius = TType.Round(Math.Sqrt(TType.Round(-2 * TType.Round(DoubleMath.Log(u1)))));
            var (sin, cos) = DoubleMath.SinCos(TType.Turn(u2));
            d[j] = TType.Store(TType.Round(radius * TType.Round(cos)));
            d[j + Block / 2] = TType.Store(TType.Round(radius * TType.Round(sin)));
        }
    }

    private double NormalDouble()
    {
        if (pending is { } kept)
        {
            pending = null;
            return kept;
        }

        double u1 = Uniform53(), u2 = Uniform53(), radius = Math.Sqrt(-2 * DoubleMath.Log(1 - u2));
        var (sin, cos) = DoubleMath.SinCos(2 * Math.PI * u1);
        pending = radius * sin;
        return radius * cos;
    }

    private double Uniform53() => (Next64() & ((1UL << 53) - 1)) * Unit53;

    private void Refill()
    {
        for (int i = 0; i < N; i++)
        {
            uint y = (state[i] & 0x80000000) | (state[i + 1 < N ? i + 1 : 0] & 0x7FFFFFFF);
            state[i] = state[i + M < N ? i + M : i + M - N] ^ (y >> 1) ^ ((y & 1) != 0 ? 0x9908B0DF : 0);
        }

        position = 0;
    }

    /// <summary>How a type is drawn: its uniform, and rounding to it.</summary>
    private interface IDrawn<T>
    {
        static abstract double Uniform(TorchCpuGenerator g);

        static abstract double Round(double v);

        /// <summary>2 pi u as the peer's code for this type computes it.</summary>
        static abstract double Turn(double u);

        static abstract T Store(double v);

        static abstract double Load(T v);
    }

    private readonly struct Single : IDrawn<float>
    {
        public static double Uniform(TorchCpuGenerator g) => (g.Next32() & ((1u << 24) - 1)) * Unit24;

        public static double Round(double v) => (float)v;

        // 2 pi itself is a float here, and the product too.
        public static double Turn(double u) => 2 * MathF.PI * (float)u;

        public static float Store(double v) => (float)v;

        public static double Load(float v) => v;
    }

    private readonly struct Double : IDrawn<double>
    {
        public static double Uniform(TorchCpuGenerator g) => g.Uniform53();

        public static double Round(double v) => v;

        public static double Turn(double u) => 2 * Math.PI * u;

        public static double Store(double v) => v;

        public static double Load(double v) => v;
    }

    private readonly struct Half16 : IDrawn<float>
    {
        public static double Uniform(TorchCpuGenerator g) => (g.Next32() & ((1u << 11) - 1)) * (1.0 / (1 << 11));

        public static double Round(double v) => (double)(Half)(float)v;

        public static double Turn(double u) => Round(2 * Math.PI * u);

        public static float Store(double v) => (float)v;

        public static double Load(float v) => v;
    }

    private readonly struct Brain16 : IDrawn<float>
    {
        public static double Uniform(TorchCpuGenerator g) => (g.Next32() & ((1u << 8) - 1)) * (1.0 / (1 << 8));

        // To nearest, ties to even; the numbers here are finite.
        public static double Round(double v)
        {
            uint bits = BitConverter.SingleToUInt32Bits((float)v);
            return BitConverter.UInt32BitsToSingle((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000);
        }

        public static double Turn(double u) => Round(2 * Math.PI * u);

        public static float Store(double v) => (float)v;

        public static double Load(float v) => v;
    }
}
