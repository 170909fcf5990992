using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Noise;

/// <summary>
/// The normal numbers of PyTorch's CUDA generator, on any device: Philox4x32-10 (Salmon et al. 2011) with the seed as key, counter words 0-1
/// the position in the stream, words 2-3 the thread, and Box-Muller in float. Thread t of T makes elements t, t + T, t + 2T, ...; T depends on
/// the GPU, so a draw of more than T elements differs from one GPU to the next. Agreement with a GPU is about 1e-6: its log and sine differ.
/// </summary>
public sealed class TorchCudaGenerator : INoiseSource
{
    private const int Lanes = 4, BlockThreads = 256;
    private const float Unit = 2.3283064e-10f, Turn = 2.3283064e-10f * 6.2831855f;     // 2^-32, and 2 pi of it

    private readonly long mostThreads;
    private ulong offset;

    /// <param name="multiprocessors">Of the GPU whose numbers are wanted; 0 for one that never wraps around, the "NV" source of other programs.</param>
    /// <param name="threadsPerMultiprocessor">2048 on data-centre GPUs, 1536 on most others since Ampere.</param>
    public TorchCudaGenerator(ulong seed, int multiprocessors = 0, int threadsPerMultiprocessor = 2048)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(multiprocessors);
        ArgumentOutOfRangeException.ThrowIfLessThan(threadsPerMultiprocessor, BlockThreads);
        Seed = seed;
        mostThreads = multiprocessors == 0 ? long.MaxValue : (long)BlockThreads * multiprocessors * (threadsPerMultiprocessor / BlockThreads);
    }

    public ulong Seed { get; }

    public void Normal(Span<float> destination)
    {
        long n = destination.Length;
        if (n == 0) return;
        long threads = Math.Min(mostThreads, (n + BlockThreads - 1) / BlockThreads * BlockThreads), rounds = (n - 1) / (Lanes * threads) + 1;
        Span<uint> words = stackalloc uint[Lanes];
        Span<float> normal = stackalloc float[Lanes];
        for (long round = 0; round < rounds; round++)
        {
            for (long thread = 0; thread < Math.Min(threads, n); thread++)
            {
                Philox(offset / Lanes + (ulong)round, (ulong)thread, Seed, words);
                (normal[0], normal[1]) = BoxMuller(words[0], words[1]);
                (normal[2], normal[3]) = BoxMuller(words[2], words[3]);
                for (int k = 0; k < Lanes; k++)
                {
                    long i = (round * Lanes + k) * threads + thread;
                    if (i < n) destination[(int)i] = normal[k];
                }
            }
        }

        offset += Lanes * (ulong)rounds;
    }

    /// <summary>Ten rounds of Philox4x32: four random words for a counter of 128 bits and a key of 64.</summary>
    public static void Philox(ulong counterLow, ulong counterHigh, ulong key, Span<uint> words)
    {
        uint c0 = (uint)counterLow, c1 = (uint)(counterLow >> 32), c2 = (uint)counterHigh, c3 = (uint)(counterHigh >> 32), k0 = (uint)key, k1 = (uint)(key >> 32);
        for (int round = 0; round < 10; round++)
        {
            ulong a = 0xD2511F53UL * c0, b = 0xCD9E8D57UL * c2;
            (c0, c1, c2, c3) = ((uint)(b >> 32) ^ c1 ^ k0, (uint)b, (uint)(a >> 32) ^ c3 ^ k1, (uint)a);
            k0 += 0x9E3779B9;
            k1 += 0xBB67AE85;
        }

        (words[0], words[1], words[2], words[3]) = (c0, c1, c2, c3);
    }

    private static (float First, float Second) BoxMuller(uint x, uint y)
    {
        float u = x * Unit + Unit / 2, v = y * Turn + Turn / 2;
        float radius = MathF.Sqrt(-2 * (float)DoubleMath.Log(u));
        var (sin, cos) = DoubleMath.SinCos(v);
        return (radius * (float)sin, radius * (float)cos);
    }
}
