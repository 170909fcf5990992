using System.Runtime.InteropServices;
using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Kernels.Tests;

/// <summary>Aligned floats outside the managed heap, poisoned with NaN and fenced by canaries that <see cref="Dispose"/> checks.</summary>
internal sealed unsafe class FloatBuffer : IDisposable
{
    private const int Fence = 32;
    private const uint Canary = 0x7FC0BEEF;
    private readonly uint* memory;

    public FloatBuffer(long count)
    {
        Count = count;
        memory = (uint*)NativeMemory.AlignedAlloc((nuint)(count + 2 * Fence) * 4, 64);
        for (long i = 0; i < count + 2 * Fence; i++) memory[i] = Canary;
    }

    public FloatBuffer(ReadOnlySpan<float> values)
        : this(values.Length) => values.CopyTo(Span);

    public long Count { get; }

    public float* P => (float*)(memory + Fence);

    public Span<float> Span => new(P, (int)Count);

    public static FloatBuffer Normal(Random random, long count, double mean = 0, double deviation = 1)
    {
        var b = new FloatBuffer(count);
        for (long i = 0; i < count; i++) b.P[i] = (float)(mean + deviation * Gaussian(random));
        return b;
    }

    public static double Gaussian(Random random) => Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());

    /// <summary>True where the element still holds the poison.</summary>
    public bool Untouched(long i) => BitConverter.SingleToUInt32Bits(P[i]) == Canary;

    public void Poison() => new Span<uint>(P, (int)Count).Fill(Canary);

    public void Dispose()
    {
        bool intact = true;
        for (int i = 0; i < Fence; i++) intact &= memory[i] == Canary && memory[Fence + Count + i] == Canary;
        NativeMemory.AlignedFree(memory);
        Assert.True(intact, "the kernel wrote outside its buffer");
    }
}

/// <summary>The instruction-set paths of this machine and one pool for each, and the checks that they agree.</summary>
internal static class Paths
{
    public static readonly Isa[] Available = [.. new[] { Isa.Scalar, Isa.Avx2, Isa.Avx512 }.Where(i => i <= HostIsa.Active)];

    public static WorkerPool Pool(Isa isa, int threads = 1) => new(threads, isa);

    /// <summary>Runs a kernel on every path and with 1, 2 and 3 threads; the bytes of <paramref name="output"/> must be the same each time.</summary>
    public static void AllAgree(FloatBuffer output, Action<WorkerPool> run)
    {
        byte[]? first = null;
        foreach (var (isa, threads) in Available.Select(i => (i, 1)).Append((HostIsa.Active, 2)).Append((HostIsa.Active, 3)))
        {
            using var pool = Pool(isa, threads);
            output.Poison();
            run(pool);
            byte[] bytes = MemoryMarshal.AsBytes(output.Span).ToArray();
            first ??= bytes;
            Assert.True(bytes.AsSpan().SequenceEqual(first), $"{isa} with {threads} threads differs from {Available[0]}: {FirstDifference(first, bytes)}");
        }
    }

    private static string FirstDifference(byte[] a, byte[] b)
    {
        var x = MemoryMarshal.Cast<byte, float>(a);
        var y = MemoryMarshal.Cast<byte, float>(b);
        for (int i = 0; i < x.Length; i++)
            if (BitConverter.SingleToUInt32Bits(x[i]) != BitConverter.SingleToUInt32Bits(y[i])) return $"element {i}: {x[i]:G9} and {y[i]:G9}";
        return "none";
    }
}

public class PathTests
{
    [Fact]
    public void The_process_runs_the_path_that_the_environment_expects()
    {
        string? expected = Environment.GetEnvironmentVariable("DCORE_EXPECT_ISA");
        if (!string.IsNullOrEmpty(expected)) Assert.Equal(expected, HostIsa.Active.ToString(), ignoreCase: true);
        using var pool = new WorkerPool(1);
        Assert.Equal(HostIsa.Active, pool.Isa);
    }
}
