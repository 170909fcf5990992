using DiffusionCore.Kernels.Host;
using static DiffusionCore.Kernels.Tests.GemmTestSupport;

namespace DiffusionCore.Kernels.Tests;

public unsafe class GemmTests
{
    [Fact]
    public void The_active_path_is_the_expected_one()
    {
        string? expected = Environment.GetEnvironmentVariable("DCORE_EXPECT_ISA");
        if (!string.IsNullOrEmpty(expected)) Assert.Equal(Enum.Parse<Isa>(expected, ignoreCase: true), HostIsa.Active);
    }

    public static TheoryData<int, int, int, WeightType, int> Shapes()
    {
        var data = new TheoryData<int, int, int, WeightType, int>();
        (int M, int N, int K)[] shapes =
            [(1, 1, 1), (1, 17, 3), (7, 16, 768), (8, 48, 769), (9, 49, 17), (97, 111, 33), (33, 97, 1537), (130, 95, 40), (257, 31, 5), (5, 145, 300), (64, 3, 111)];
        int parts = 0;
        foreach (var (m, n, k) in shapes)
            foreach (var type in Enum.GetValues<WeightType>()) data.Add(m, n, k, type, parts++);
        return data;
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public void Agrees_with_double_and_is_the_same_on_every_path_and_thread_count(int m, int n, int k, WeightType type, int variant)
    {
        var random = new Random(variant + 1);
        var c = new Case(random, m, n, k, type, variant % 16, Activations[variant % Activations.Length]);
        float[]? first = null;
        foreach (var isa in Isas())
        {
            foreach (int threads in new[] { 1, 2, 3 })
            {
                float[] y = c.Run(isa, threads);
                if (first != null) AssertSameBits(first, y, $"{isa} with {threads} threads");
                first ??= y;
            }
        }

        c.Check(first!);
    }

    [Fact]
    public void Every_part_of_the_epilogue_acts_in_order()
    {
        for (int parts = 0; parts < 16; parts++)
        {
            foreach (var activation in Activations)
            {
                var c = new Case(new Random(parts * 10 + (int)activation), 19, 51, 7, WeightType.F32, parts, activation);
                float[]? first = null;
                foreach (var isa in Isas())
                {
                    float[] y = c.Run(isa, 1);
                    if (first != null) AssertSameBits(first, y, $"{isa}, parts {parts}, {activation}");
                    first ??= y;
                }

                c.Check(first!);
            }
        }
    }

    [Fact]
    public void A_residual_may_be_the_result_itself()
    {
        using var memory = new Memory();
        using var pool = new WorkerPool(2);
        const int M = 50, N = 50, K = 900;
        var random = new Random(3);
        float[] x = Random(random, M * K), w = Random(random, N * K), r = Random(random, M * N);
        foreach (var isa in Isas())
        {
            void* packed = memory.Bytes(PackedWeights.Bytes(N, K, 1, WeightType.F32));
            PackedWeights.Pack(isa, memory.Copy(w), WeightType.F32, N, K, 1, packed);
            void* scratch = memory.Bytes(Gemm.ScratchBytes(M, N, K, WeightType.F32, 2));
            float* apart = memory.Floats(M * N), inPlace = memory.Copy(r), source = memory.Copy(x);
            Gemm.Run(isa, pool, source, K, M, K, packed, WeightType.F32, N, apart, N, M, new Epilogue { Residual = memory.Copy(r), ResidualPitch = N }, scratch);
            Gemm.Run(isa, pool, source, K, M, K, packed, WeightType.F32, N, inPlace, N, M, new Epilogue { Residual = inPlace, ResidualPitch = N }, scratch);
            AssertSameBits(new Span<float>(apart, M * N).ToArray(), new Span<float>(inPlace, M * N).ToArray(), isa.ToString());
        }
    }

    [Fact]
    public void Rows_do_not_depend_on_the_rows_around_them()
    {
        var whole = new Case(new Random(5), 300, 65, 800, WeightType.BF16, 1, Activation.Silu);
        float[] all = whole.Run(HostIsa.Active, 2);
        foreach (int row in new[] { 0, 1, 127, 128, 255, 299 })
            AssertSameBits(all[(row * whole.LdY)..(row * whole.LdY + 65)], whole.Rows(row, 1).Run(HostIsa.Active, 1)[..65], $"row {row}");
    }

    [Theory]
    [InlineData(1, 1)]
    [InlineData(77, 40)]
    [InlineData(17, 97)]
    [InlineData(800, 49)]
    public void B_of_a_product_of_two_activations_is_packed_either_way_round(int k, int n)
    {
        using var memory = new Memory();
        var random = new Random(k + n);
        int ld = n + 3, ldT = k + 5;
        float[] b = Random(random, k * ld), bT = Random(random, n * ldT), plain = new float[n * k];
        for (int i = 0; i < k; i++)
            for (int j = 0; j < n; j++) plain[j * k + i] = bT[j * ldT + i] = b[i * ld + j];

        foreach (var isa in Isas())
        {
            long floats = PackedWeights.Bytes(n, k, 1, WeightType.F32) / 4;
            float* expected = memory.Floats(floats), columns = memory.Floats(floats), rows = memory.Floats(floats);
            PackedWeights.Pack(isa, memory.Copy(plain), WeightType.F32, n, k, 1, expected);
            Gemm.PackColumns(isa, memory.Copy(b), ld, k, n, columns);
            Gemm.PackRows(isa, memory.Copy(bT), ldT, k, n, rows);
            AssertSameBits(new Span<float>(expected, (int)floats).ToArray(), new Span<float>(columns, (int)floats).ToArray(), $"{isa} columns");
            AssertSameBits(new Span<float>(expected, (int)floats).ToArray(), new Span<float>(rows, (int)floats).ToArray(), $"{isa} rows");
        }
    }

    [Fact]
    public void Every_half_and_bfloat_widens_exactly_on_every_path()
    {
        using var memory = new Memory();
        ushort* all = (ushort*)memory.Bytes(2 * 65536 + 1);
        float* wide = memory.Floats(65536 - 5);
        for (int i = 0; i < 65536; i++) all[i] = (ushort)i;
        foreach (var isa in Isas())
        {
            foreach (var type in new[] { WeightType.F16, WeightType.BF16 })
            {
                foreach (int skip in new[] { 0, 5 })
                {
                    PackedWeights.Widen(isa, all + skip, type, wide, 65536 - 5);
                    for (int i = 0; i < 65536 - 5; i++)
                    {
                        float expected = type == WeightType.F16 ? (float)BitConverter.UInt16BitsToHalf((ushort)(i + skip)) : BitConverter.Int32BitsToSingle((i + skip) << 16);
                        if (float.IsNaN(expected)) Assert.True(float.IsNaN(wide[i]), $"{isa} {type} {i + skip:X4}: {wide[i]}");
                        else if (BitConverter.SingleToInt32Bits(expected) != BitConverter.SingleToInt32Bits(wide[i])) Assert.Fail($"{isa} {type} {i + skip:X4}: {wide[i]}, expected {expected}");
                    }
                }
            }
        }
    }

    [Fact]
    public void Weights_may_lie_at_odd_addresses()
    {
        using var memory = new Memory();
        float[] w = Random(new Random(1), 20 * 9);
        foreach (var type in Enum.GetValues<WeightType>())
        {
            byte[] stored = Store(w, type).Stored;
            byte* odd = (byte*)memory.Bytes(stored.Length + 1) + 1, even = (byte*)memory.Bytes(stored.Length);
            stored.CopyTo(new Span<byte>(odd, stored.Length));
            stored.CopyTo(new Span<byte>(even, stored.Length));
            int bytes = (int)PackedWeights.Bytes(20, 3, 3, type);
            byte* a = (byte*)memory.Bytes(bytes), b = (byte*)memory.Bytes(bytes);
            PackedWeights.Pack(odd, type, 20, 3, 3, a);
            PackedWeights.Pack(even, type, 20, 3, 3, b);
            Assert.True(new Span<byte>(a, bytes).SequenceEqual(new Span<byte>(b, bytes)));
        }
    }

    [Fact]
    public void A_call_allocates_nothing()
    {
        using var memory = new Memory();
        using var pool = new WorkerPool(2);
        const int M = 40, N = 60, K = 50;
        void* packed = memory.Bytes(PackedWeights.Bytes(N, K, 1, WeightType.F32));
        PackedWeights.Pack(memory.Floats(N * K), WeightType.F32, N, K, 1, packed);
        void* scratch = memory.Bytes(Gemm.ScratchBytes(M, N, K, WeightType.F32, 2));
        float* x = memory.Floats(M * K), y = memory.Floats(M * N);
        long before = 0;
        for (int i = 0; i < 2; i++)
        {
            before = GC.GetAllocatedBytesForCurrentThread();
            Gemm.Run(pool, x, K, M, K, packed, WeightType.F32, N, y, N, M, Epilogue.None, scratch);
        }

        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());
    }

    private sealed class Case
    {
        private readonly int m, n, k, ldx, rowsPerImage;
        private readonly WeightType type;
        private readonly float[] x, worth;
        private readonly byte[] stored;
        private readonly EpilogueCase epilogue;

        public Case(Random random, int m, int n, int k, WeightType type, int parts, Activation activation)
        {
            (this.m, this.n, this.k, this.type) = (m, n, k, type);
            ldx = k + 3;
            rowsPerImage = Math.Max(1, m / 3);
            x = GemmTestSupport.Random(random, (long)m * ldx);
            (stored, worth) = Store(GemmTestSupport.Random(random, (long)n * k, 2 / MathF.Sqrt(k)), type);
            epilogue = EpilogueCase.Of(random, parts, activation, n, (m + rowsPerImage - 1) / rowsPerImage, m);
        }

        private Case(Case whole, int row, int count)
        {
            (m, n, k, type, ldx, rowsPerImage) = (count, whole.n, whole.k, whole.type, whole.ldx, whole.rowsPerImage);
            x = whole.x[(row * ldx)..((row + count) * ldx)];
            (stored, worth, epilogue) = (whole.stored, whole.worth, whole.epilogue);
        }

        public int LdY => n + 7;

        public Case Rows(int row, int count) => new(this, row, count);

        public float[] Run(Isa isa, int threads)
        {
            using var memory = new Memory();
            using var pool = new WorkerPool(threads);
            byte* raw = (byte*)memory.Bytes(stored.Length);
            stored.CopyTo(new Span<byte>(raw, stored.Length));
            void* packed = memory.Bytes(PackedWeights.Bytes(n, k, 1, type));
            PackedWeights.Pack(isa, raw, type, n, k, 1, packed);
            float* y = memory.Floats(m * LdY);
            for (int i = 0; i < m; i++)
                for (int j = n; j < LdY; j++) y[i * LdY + j] = Canary;
            Gemm.Run(
                isa, pool, memory.Copy(x), ldx, m, k, packed, type, n, y, LdY, rowsPerImage, epilogue.Bind(memory), memory.Bytes(Gemm.ScratchBytes(m, n, k, type, threads)));
            return new Span<float>(y, m * LdY).ToArray();
        }

        public void Check(float[] y)
        {
            double[] exact = new double[m * n], naive = new double[m * n];
            float[] actual = new float[m * n];
            for (int i = 0; i < m; i++)
            {
                for (int j = n; j < LdY; j++) Assert.Equal(Canary, y[i * LdY + j]);
                for (int j = 0; j < n; j++)
                {
                    double sum = 0;
                    float plain = 0;
                    for (int l = 0; l < k; l++)
                    {
                        sum += (double)x[i * ldx + l] * worth[j * k + l];
                        plain += x[i * ldx + l] * worth[j * k + l];
                    }

                    exact[i * n + j] = epilogue.Exact(sum, i, i / rowsPerImage, j);
                    naive[i * n + j] = epilogue.Naive(plain, i, i / rowsPerImage, j);
                    actual[i * n + j] = y[i * LdY + j];
                }
            }

            AssertClose(exact, naive, actual, $"{m}x{n}x{k} {type}");
        }
    }
}
