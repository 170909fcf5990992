using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Noise;

/// <summary>A source of standard normal numbers in single precision.</summary>
public interface INoiseSource
{
    /// <summary>One draw: what the peer's randn of this many elements would give next.</summary>
    void Normal(Span<float> destination);
}

/// <summary>
/// The normal numbers of PyTorch's CPU generator: Mersenne Twister (Matsumoto and Nishimura 1998) seeded with the low 32 bits, Box-Muller.
/// A draw of 16 or more fills uniforms and transforms blocks of eight pairs; a shorter one works in double, one number at a time, keeping the
/// second of each pair for the next. Logarithm and sine are this engine's own, so every platform gives the same bytes.
/// </summary>
public sealed class TorchCpuGenerator : INoiseSource
{
    private const int N = 624;
    private const int M = 397;
    private const int Block = 16;

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

    public void Normal(Span<float> destination)
    {
        if (destination.Length < Block)
        {
            foreach (ref float v in destination) v = (float)NormalDouble();
            return;
        }

        foreach (ref float v in destination) v = Uniform();
        int i = 0;
        for (; i + Block <= destination.Length; i += Block) Transform(destination.Slice(i, Block));
        if (i < destination.Length)
        {
            // The last sixteen are drawn anew, over what the last whole block had left there.
            var last = destination[^Block..];
            foreach (ref float v in last) v = Uniform();
            Transform(last);
        }
    }

    private float Uniform() => (Next32() & ((1u << 24) - 1)) * (1f / (1 << 24));

    private static void Transform(Span<float> d)
    {
        for (int j = 0; j < Block / 2; j++)
        {
            float radius = MathF.Sqrt(-2 * (float)DoubleMath.Log(1 - d[j]));
            var (sin, cos) = DoubleMath.SinCos(2 * MathF.PI * d[j + Block / 2]);
            d[j] = radius * (float)cos;
            d[j + Block / 2] = radius * (float)sin;
        }
    }

    private double NormalDouble()
    {
        if (pending is { } kept)
        {
            pending = null;
            return kept;
        }

        const ulong Low53 = (1UL << 53) - 1;
        double u1 = (Next64() & Low53) * (1.0 / (1UL << 53)), u2 = (Next64() & Low53) * (1.0 / (1UL << 53));
        double radius = Math.Sqrt(-2 * DoubleMath.Log(1 - u2));
        var (sin, cos) = DoubleMath.SinCos(2 * Math.PI * u1);
        pending = radius * sin;
        return radius * cos;
    }

    private void Refill()
    {
        for (int i = 0; i < N; i++)
        {
            uint y = (state[i] & 0x80000000) | (state[(i + 1) % N] & 0x7FFFFFFF);
            state[i] = state[(i + M) % N] ^ (y >> 1) ^ ((y & 1) != 0 ? 0x9908B0DF : 0);
        }

        position = 0;
    }
}
