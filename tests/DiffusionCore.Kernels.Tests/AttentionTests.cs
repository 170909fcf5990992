using DiffusionCore.Kernels.Host;
using static DiffusionCore.Kernels.Tests.GemmTestSupport;

namespace DiffusionCore.Kernels.Tests;

public unsafe class AttentionTests
{
    private enum MaskKind
    {
        None,
        Full,
        PerHead,
        PerBatchKeys,       // one row for all queries: a padding mask
        Shared,
    }

    private static AttentionShape Shape(int batch, int heads, int queries, int keys, int d, int e, bool causal = false) =>
        new() { Batch = batch, Heads = heads, Queries = queries, Keys = keys, HeadDim = d, ValueDim = e, Scale = 1 / MathF.Sqrt(d), Causal = causal };

    [Theory]
    [InlineData(1, 2, 1, 1, 1, 1)]
    [InlineData(1, 1, 17, 97, 8, 8)]
    [InlineData(2, 3, 64, 64, 32, 32)]
    [InlineData(1, 2, 97, 300, 40, 40)]
    [InlineData(1, 2, 111, 77, 64, 64)]
    [InlineData(1, 1, 49, 513, 80, 17)]
    [InlineData(1, 1, 50, 257, 160, 160)]
    [InlineData(1, 1, 33, 260, 512, 512)]
    [InlineData(1, 1, 5, 20, 900, 3)]               // two blocks of terms in a score
    public void Agrees_with_double_for_every_head_size(int batch, int heads, int queries, int keys, int d, int e)
    {
        foreach (bool causal in new[] { false, true })
        {
            var c = new Case(new Random(d + keys), Shape(batch, heads, queries, keys, d, e, causal), MaskKind.None);
            c.Check(c.RunEverywhere());
        }
    }

    [Theory]
    [InlineData(1, false)]
    [InlineData(1, true)]
    [InlineData(2, false)]
    [InlineData(3, false)]
    [InlineData(3, true)]
    [InlineData(4, false)]
    public void Masks_add_to_the_scores_with_any_strides(int kind, bool causal)
    {
        var c = new Case(new Random(kind), Shape(2, 3, 53, 290, 24, 16, causal), (MaskKind)kind);
        c.Check(c.RunEverywhere());
    }

    [Theory]
    [InlineData(300)]
    [InlineData(20000)]
    public void Large_scores_do_not_overflow(float size)
    {
        var c = new Case(new Random(1), Shape(1, 2, 60, 600, 16, 16), MaskKind.None, size);
        c.Check(c.RunEverywhere(), 4);
    }

    [Fact]
    public void Queries_that_see_no_key_give_zeros_and_finite_floors_share_evenly()
    {
        var s = Shape(1, 1, 50, 300, 8, 8);
        var c = new Case(new Random(2), s, MaskKind.Full);
        for (int j = 0; j < s.Keys; j++)
        {
            c.Mask![0 * s.Keys + j] = float.NegativeInfinity;
            c.Mask[49 * s.Keys + j] = float.NegativeInfinity;
            c.Mask[1 * s.Keys + j] = j < 280 ? float.NegativeInfinity : 0;     // the first block is hidden whole
            c.Mask[2 * s.Keys + j] = j >= 20 ? float.NegativeInfinity : 0;     // the second
            c.Mask[3 * s.Keys + j] = float.MinValue;                          // "minus infinity" of those who avoid it
        }

        float[] y = c.RunEverywhere();
        c.Check(y);
        for (int j = 0; j < 8; j++)
        {
            Assert.Equal(0f, y[j]);
            Assert.Equal(0f, y[49 * c.LdY + j]);
        }
    }

    [Fact]
    public void Not_a_number_stays_where_it_belongs()
    {
        var s = Shape(1, 1, 20, 40, 8, 8);
        var c = new Case(new Random(2), s, MaskKind.None);
        c.Q[5 * c.LdQ + 3] = float.NaN;
        float[] y = c.RunEverywhere();
        for (int i = 0; i < 20; i++)
            for (int j = 0; j < 8; j++) Assert.Equal(i == 5, float.IsNaN(y[i * c.LdY + j]));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(3)]
    public void An_image_of_a_batch_is_the_image_alone(int kind)
    {
        var c = new Case(new Random(kind), Shape(3, 2, 40, 70, 20, 12, causal: kind == 0), (MaskKind)kind);
        float[] all = c.Run(HostIsa.Active, 2);
        int image = all.Length / 3;
        for (int i = 0; i < 3; i++) AssertSameBits(all[(i * image)..((i + 1) * image)], c.Image(i).Run(HostIsa.Active, 1), $"image {i}");
    }

    [Fact]
    public void A_call_allocates_nothing()
    {
        using var memory = new Memory();
        using var pool = new WorkerPool(2);
        var s = Shape(2, 2, 50, 50, 16, 16);
        float* q = memory.Floats(100 * 32), y = memory.Floats(100 * 32);
        void* scratch = memory.Bytes(Attention.ScratchBytes(s, 2));
        long before = 0;
        for (int i = 0; i < 2; i++)
        {
            before = GC.GetAllocatedBytesForCurrentThread();
            Attention.Run(pool, s, q, 32, q, 32, q, 32, null, 0, 0, 0, y, 32, scratch);
        }

        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());
    }

    private sealed class Case
    {
        private AttentionShape s;
        private readonly float[] k, v;
        private readonly int ldk, ldv;
        private readonly long maskBatch, maskHead, maskRow;

        public Case(Random random, AttentionShape shape, MaskKind kind, float size = 2)
        {
            s = shape;
            LdQ = s.Heads * s.HeadDim + 3;
            ldk = s.Heads * s.HeadDim + 1;
            ldv = s.Heads * s.ValueDim + 2;
            Q = GemmTestSupport.Random(random, (long)s.Batch * s.Queries * LdQ, size);
            k = GemmTestSupport.Random(random, (long)s.Batch * s.Keys * ldk, 2);
            v = GemmTestSupport.Random(random, (long)s.Batch * s.Keys * ldv);
            long full = (long)s.Queries * s.Keys;
            (maskBatch, maskHead, maskRow) = kind switch
            {
                MaskKind.Full => (s.Heads * full, full, s.Keys),
                MaskKind.PerHead => (0L, full, s.Keys),
                MaskKind.PerBatchKeys => (s.Keys, 0L, 0L),
                MaskKind.Shared => (0L, 0L, s.Keys),
                _ => (0L, 0L, 0L),
            };
            if (kind == MaskKind.None) return;
            Mask = GemmTestSupport.Random(random, Math.Max(full, s.Batch * Math.Max(maskBatch, s.Heads * maskHead)), 3);
            for (int i = 0; i < Mask.Length; i += 7) Mask[i] = float.NegativeInfinity;
        }

        private Case(Case batch, int image)
        {
            (s, LdQ, ldk, ldv, maskHead, maskRow) = (batch.s, batch.LdQ, batch.ldk, batch.ldv, batch.maskHead, batch.maskRow);
            s.Batch = 1;
            Q = Slice(batch.Q, image, s.Queries * LdQ);
            k = Slice(batch.k, image, s.Keys * ldk);
            v = Slice(batch.v, image, s.Keys * ldv);
            Mask = batch.maskBatch == 0 ? batch.Mask : batch.Mask![(int)(image * batch.maskBatch)..];

            static float[] Slice(float[] all, int image, int floats) => all[(image * floats)..((image + 1) * floats)];
        }

        public float[] Q { get; }

        public float[]? Mask { get; }

        public int LdQ { get; }

        public int LdY => s.Heads * s.ValueDim + 5;

        public Case Image(int image) => new(this, image);

        public float[] RunEverywhere()
        {
            float[]? first = null;
            foreach (var isa in Isas())
            {
                foreach (int threads in isa == Isa.Scalar ? new[] { 2 } : [1, 2, 3])
                {
                    float[] y = Run(isa, threads);
                    if (first != null) AssertSameBits(first, y, $"{isa} with {threads} threads");
                    first ??= y;
                }
            }

            return first!;
        }

        public float[] Run(Isa isa, int threads)
        {
            using var memory = new Memory();
            using var pool = new WorkerPool(threads, isa);
            int rows = s.Batch * s.Queries, used = s.Heads * s.ValueDim;
            float* y = memory.Floats(rows * LdY);
            for (int i = 0; i < rows; i++)
                for (int j = used; j < LdY; j++) y[i * LdY + j] = Canary;
            Attention.Run(
                pool, s, memory.Copy(Q), LdQ, memory.Copy(k), ldk, memory.Copy(v), ldv, Mask == null ? null : memory.Copy(Mask), maskBatch, maskHead, maskRow, y, LdY,
                memory.Bytes(Attention.ScratchBytes(s, threads)));
            return new Span<float>(y, rows * LdY).ToArray();
        }

        public void Check(float[] y, double factor = 2)
        {
            int rows = s.Batch * s.Queries, used = s.Heads * s.ValueDim;
            double[] exact = new double[rows * used], naive = new double[rows * used], p = new double[s.Keys];
            float[] actual = new float[rows * used], f = new float[s.Keys];
            for (int row = 0; row < rows; row++)
            {
                int image = row / s.Queries, i = row % s.Queries;
                for (int j = used; j < LdY; j++) Assert.Equal(Canary, y[row * LdY + j]);
                for (int h = 0; h < s.Heads; h++)
                {
                    double top = double.NegativeInfinity, sum = 0;
                    float topF = float.NegativeInfinity, sumF = 0;
                    for (int j = 0; j < s.Keys; j++)
                    {
                        (p[j], f[j]) = (0, 0);
                        for (int l = 0; l < s.HeadDim; l++)
                        {
                            float a = Q[row * LdQ + h * s.HeadDim + l], b = k[(image * s.Keys + j) * ldk + h * s.HeadDim + l];
                            p[j] += (double)a * b;
                            f[j] += a * b;
                        }

                        float mask = Mask == null ? 0 : Mask[image * maskBatch + h * maskHead + i * maskRow + j];
                        p[j] = s.Causal && j > i ? double.NegativeInfinity : p[j] * s.Scale + mask;
                        f[j] = s.Causal && j > i ? float.NegativeInfinity : f[j] * s.Scale + mask;
                        top = Math.Max(top, p[j]);
                        topF = Math.Max(topF, f[j]);
                    }

                    for (int j = 0; j < s.Keys; j++)
                    {
                        p[j] = double.IsNegativeInfinity(top) ? 0 : Math.Exp(p[j] - top);
                        f[j] = float.IsNegativeInfinity(topF) ? 0 : MathF.Exp(f[j] - topF);
                        sum += p[j];
                        sumF += f[j];
                    }

                    for (int o = 0; o < s.ValueDim; o++)
                    {
                        double x = 0;
                        float xF = 0;
                        for (int j = 0; j < s.Keys; j++)
                        {
                            float value = v[(image * s.Keys + j) * ldv + h * s.ValueDim + o];
                            x += p[j] * value;
                            xF += f[j] * value;
                        }

                        int at = row * used + h * s.ValueDim + o;
                        exact[at] = sum == 0 ? 0 : x / sum;
                        naive[at] = sumF == 0 ? 0 : xF / sumF;
                        actual[at] = y[row * LdY + h * s.ValueDim + o];
                    }
                }
            }

            AssertClose(exact, naive, actual, $"{s.Batch}x{s.Heads}x{s.Queries}x{s.Keys} d {s.HeadDim} {s.ValueDim}{(s.Causal ? " causal" : "")}", factor);
        }
    }
}
