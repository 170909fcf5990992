// The measured roofs: FMA throughput from registers, reading and copying more than the caches hold.
using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace DiffusionCore.Kernels.Host;

/// <summary>Measures what this machine can do now; other work on it lowers the figures.</summary>
public static unsafe class PeakMeter
{
    private const int Rounds = 40;          // short ones: some of them meet a quiet moment of a shared machine
    private const int Iterations = 100_000;
    private const long StreamBytes = 128L << 20;

    /// <summary>Single-precision GFLOP/s of one thread.</summary>
    public static double FmaGflopsPerCore()
    {
        double best = 0;
        for (int i = 0; i < Rounds; i++)
        {
            long start = Stopwatch.GetTimestamp();
            double flops = Burn();
            best = Math.Max(best, flops / Stopwatch.GetElapsedTime(start).TotalSeconds);
        }

        return best / 1e9;
    }

    /// <summary>Single-precision GFLOP/s of all workers together.</summary>
    public static double FmaGflops(WorkerPool pool)
    {
        double best = 0;
        for (int i = 0; i < Rounds; i++)
        {
            double flops = 0;
            long start = Stopwatch.GetTimestamp();
            pool.For(pool.Count * 4, &BurnItem, &flops);
            best = Math.Max(best, flops * pool.Count * 4 / Stopwatch.GetElapsedTime(start).TotalSeconds);
        }

        return best / 1e9;
    }

    /// <summary>GB/s of reading.</summary>
    public static double ReadGigabytesPerSecond(WorkerPool pool) => Stream(pool, copy: false);

    /// <summary>GB/s of copying, bytes read and written counted.</summary>
    public static double CopyGigabytesPerSecond(WorkerPool pool) => Stream(pool, copy: true);

    private static double Stream(WorkerPool pool, bool copy)
    {
        var s = new Streaming { Copy = copy, Source = (byte*)NativeMemory.AlignedAlloc((nuint)StreamBytes, 64), Target = (byte*)NativeMemory.AlignedAlloc((nuint)StreamBytes, 64) };
        try
        {
            NativeMemory.Fill(s.Source, (nuint)StreamBytes, 1);
            NativeMemory.Fill(s.Target, (nuint)StreamBytes, 2);
            double best = double.MaxValue;
            for (int i = 0; i < 5; i++)
            {
                long start = Stopwatch.GetTimestamp();
                pool.For(Streaming.Pieces, &StreamItem, &s);
                best = Math.Min(best, Stopwatch.GetElapsedTime(start).TotalSeconds);
            }

            return StreamBytes * (copy ? 2 : 1) / best / 1e9;
        }
        finally
        {
            NativeMemory.AlignedFree(s.Source);
            NativeMemory.AlignedFree(s.Target);
        }
    }

    private struct Streaming
    {
        public const int Pieces = 64;
        public bool Copy;
        public byte* Source, Target;
        public long Sink;
    }

    private static void StreamItem(void* state, int item, int worker)
    {
        var s = (Streaming*)state;
        long bytes = StreamBytes / Streaming.Pieces;
        byte* p = s->Source + item * bytes;
        if (s->Copy)
        {
            Buffer.MemoryCopy(p, s->Target + item * bytes, bytes, bytes);
            return;
        }

        var a = Vector256<long>.Zero;
        var b = a;
        for (long i = 0; i < bytes; i += 64)
        {
            a += Vector256.Load((long*)(p + i));
            b += Vector256.Load((long*)(p + i + 32));
        }

        Interlocked.Add(ref s->Sink, Vector256.Sum(a + b));
    }

    private static void BurnItem(void* state, int item, int worker)
    {
        double flops = Burn();
        if (item == 0) *(double*)state = flops;
    }

    private static double Burn() => HostIsa.Active switch
    {
        Isa.Avx512 => Burn512(Vector512.Create(0.999999f)),
        Isa.Avx2 => Burn256(Vector256.Create(0.999999f)),
        _ => BurnScalar(0.999999f),
    };

    private static float sink;

    // Twelve independent chains: more than latency times throughput of any core so far.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static double Burn512(Vector512<float> m)
    {
        Vector512<float> a = m, b = m, c = m, d = m, e = m, f = m, g = m, h = m, i = m, j = m, k = m, l = m;
        for (int n = 0; n < Iterations; n++)
        {
            a = Avx512F.FusedMultiplyAdd(a, m, m); b = Avx512F.FusedMultiplyAdd(b, m, m); c = Avx512F.FusedMultiplyAdd(c, m, m);
            d = Avx512F.FusedMultiplyAdd(d, m, m); e = Avx512F.FusedMultiplyAdd(e, m, m); f = Avx512F.FusedMultiplyAdd(f, m, m);
            g = Avx512F.FusedMultiplyAdd(g, m, m); h = Avx512F.FusedMultiplyAdd(h, m, m); i = Avx512F.FusedMultiplyAdd(i, m, m);
            j = Avx512F.FusedMultiplyAdd(j, m, m); k = Avx512F.FusedMultiplyAdd(k, m, m); l = Avx512F.FusedMultiplyAdd(l, m, m);
        }

        sink = ((a + b + c) + (d + e + f) + (g + h + i) + (j + k + l)).ToScalar();
        return Iterations * 12.0 * 32;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static double Burn256(Vector256<float> m)
    {
        Vector256<float> a = m, b = m, c = m, d = m, e = m, f = m, g = m, h = m, i = m, j = m, k = m, l = m;
        for (int n = 0; n < Iterations; n++)
        {
            a = Fma.MultiplyAdd(a, m, m); b = Fma.MultiplyAdd(b, m, m); c = Fma.MultiplyAdd(c, m, m);
            d = Fma.MultiplyAdd(d, m, m); e = Fma.MultiplyAdd(e, m, m); f = Fma.MultiplyAdd(f, m, m);
            g = Fma.MultiplyAdd(g, m, m); h = Fma.MultiplyAdd(h, m, m); i = Fma.MultiplyAdd(i, m, m);
            j = Fma.MultiplyAdd(j, m, m); k = Fma.MultiplyAdd(k, m, m); l = Fma.MultiplyAdd(l, m, m);
        }

        sink = ((a + b + c) + (d + e + f) + (g + h + i) + (j + k + l)).ToScalar();
        return Iterations * 12.0 * 16;
    }

    private static double BurnScalar(float m)
    {
        float a = m, b = m, c = m, d = m;
        for (int n = 0; n < Iterations / 16; n++)
        {
            a = MathF.FusedMultiplyAdd(a, m, m); b = MathF.FusedMultiplyAdd(b, m, m);
            c = MathF.FusedMultiplyAdd(c, m, m); d = MathF.FusedMultiplyAdd(d, m, m);
        }

        sink = a + b + c + d;
        return Iterations / 16 * 4.0 * 2;
    }
}
