using DiffusionCore.Kernels.Host;
using static DiffusionCore.Kernels.Tests.GemmTestSupport;

namespace DiffusionCore.Kernels.Tests;

public unsafe class GegluProductTests
{
    // Halves where panels of 48 begin in the middle of panels, and one panel only.
    [Theory]
    [InlineData(1, 16, 5, WeightType.F32)]
    [InlineData(9, 32, 17, WeightType.BF16)]
    [InlineData(13, 80, 33, WeightType.F16)]
    [InlineData(150, 96, 20, WeightType.F32)]
    [InlineData(300, 208, 800, WeightType.F32)]
    [InlineData(77, 112, 9, WeightType.BF16)]
    public void Gives_the_bytes_of_the_two_steps_on_every_path_and_thread_count(int m, int half, int k, WeightType type)
    {
        var random = new Random(m);
        float[] x = GemmTestSupport.Random(random, (long)m * (k + 3)), bias = GemmTestSupport.Random(random, 2 * half);
        var (stored, _) = Store(GemmTestSupport.Random(random, 2L * half * k, 2 / MathF.Sqrt(k)), type);
        float[]? first = null;
        foreach (var isa in Isas())
        {
            foreach (int threads in new[] { 1, 2, 3 })
            {
                using var memory = new Memory();
                using var pool = new WorkerPool(threads, isa);
                byte* raw = (byte*)memory.Bytes(stored.Length);
                stored.CopyTo(new Span<byte>(raw, stored.Length));
                void* packed = memory.Bytes(PackedWeights.Bytes(2 * half, k, 1, type));
                PackedWeights.Pack(isa, raw, type, 2 * half, k, 1, packed);
                float* map = memory.Copy(x), b = memory.Copy(bias), wide = memory.Floats(2L * m * half), apart = memory.Floats((long)m * half), y = memory.Floats((long)m * (half + 16));
                Gemm.Run(isa, pool, map, k + 3, m, k, packed, type, 2 * half, wide, 2 * half, m, new Epilogue { Bias = b }, memory.Bytes(Gemm.ScratchBytes(m, 2 * half, k, type, threads)));
                GegluKernel.Run(pool, wide, apart, m, half);
                GegluProduct.Run(isa, pool, map, k + 3, m, k, packed, type, half, b, y, half + 16, memory.Bytes(GegluProduct.ScratchBytes(half, k, type, threads)));
                float[] expected = new Span<float>(apart, m * half).ToArray(), actual = new float[m * half];
                for (int i = 0; i < m; i++) new Span<float>(y + i * (half + 16), half).CopyTo(actual.AsSpan(i * half));
                AssertSameBits(expected, actual, $"{isa} with {threads} threads");
                if (first != null) AssertSameBits(first, actual, $"{isa} with {threads} threads beside the first path");
                first ??= actual;
            }
        }
    }
}
