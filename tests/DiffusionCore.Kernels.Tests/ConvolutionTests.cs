using DiffusionCore.Kernels.Host;
using static DiffusionCore.Kernels.Tests.GemmTestSupport;

namespace DiffusionCore.Kernels.Tests;

public unsafe class ConvolutionTests
{
    private static ConvShape Shape(int batch, int h, int w, int c, int o, int kh, int kw, int sh, int sw, int top, int left, int bottom, int right, int dh = 1, int dw = 1) => new()
    {
        Batch = batch, Height = h, Width = w, Channels = c, Outputs = o, KernelH = kh, KernelW = kw, StrideH = sh, StrideW = sw,
        PadTop = top, PadLeft = left, PadBottom = bottom, PadRight = right, DilationH = dh, DilationW = dw,
    };

    private static readonly ConvShape[] Shapes =
    [
        Shape(2, 7, 9, 3, 5, 3, 3, 1, 1, 1, 1, 1, 1),
        Shape(1, 8, 8, 17, 16, 3, 3, 2, 2, 0, 0, 1, 1),             // the down-sampler of the autoencoder: border on two sides
        Shape(3, 5, 5, 33, 49, 1, 1, 1, 1, 0, 0, 0, 0),             // a product
        Shape(2, 9, 7, 16, 20, 1, 1, 2, 2, 0, 0, 0, 0),
        Shape(1, 11, 6, 4, 7, 5, 1, 1, 1, 2, 0, 2, 0),
        Shape(1, 13, 13, 3, 32, 7, 7, 4, 4, 3, 3, 3, 3),
        Shape(1, 12, 15, 6, 9, 3, 3, 1, 1, 2, 3, 2, 3, 2, 3),
        Shape(2, 10, 10, 5, 17, 3, 3, 1, 1, 2, 1, 2, 1, 2, 1),
        Shape(4, 32, 32, 1, 1, 3, 3, 1, 1, 1, 1, 1, 1),
        Shape(9, 4, 4, 24, 33, 3, 3, 1, 1, 1, 1, 1, 1),              // several images to a place
        Shape(1, 6, 7, 97, 97, 3, 3, 1, 1, 1, 1, 1, 1),              // two blocks of terms
        Shape(1, 1, 131, 8, 16, 1, 3, 1, 1, 0, 1, 0, 1),
        Shape(2, 3, 70, 10, 50, 3, 3, 1, 1, 1, 1, 1, 1),             // columns are cut
        Shape(1, 2, 2, 5, 4, 5, 5, 1, 1, 2, 2, 2, 2),                // kernel larger than the map
        Shape(1, 12, 12, 1500, 2, 3, 3, 1, 1, 1, 1, 1, 1),           // patches beyond their budget
        Shape(1, 4, 4, 8, 8, 3, 3, 1, 1, 4, 4, 0, 0),                // pixels that see nothing but border
        Shape(1, 9, 9, 4, 4, 2, 2, 3, 5, 0, 1, 1, 0),
    ];

    public static TheoryData<int, WeightType> Cases()
    {
        var data = new TheoryData<int, WeightType>();
        for (int i = 0; i < Shapes.Length; i++)
            foreach (var type in Enum.GetValues<WeightType>()) data.Add(i, type);
        return data;
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Agrees_with_double_and_is_the_same_on_every_path_and_thread_count(int index, WeightType type)
    {
        int variant = index * 3 + (int)type;
        var c = new Case(new Random(variant), Shapes[index], type, variant % 16, Activations[variant % Activations.Length]);
        float[]? first = null;
        foreach (var isa in Isas())
        {
            foreach (int threads in isa == Isa.Scalar ? new[] { 2 } : [1, 2, 3])
            {
                float[] y = c.Run(isa, threads);
                if (first != null) AssertSameBits(first, y, $"{isa} with {threads} threads");
                first ??= y;
            }
        }

        c.Check(first!);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(8)]
    [InlineData(9)]
    [InlineData(12)]
    public void An_image_of_a_batch_is_the_image_alone(int index)
    {
        var c = new Case(new Random(index), Shapes[index], WeightType.F32, 1, Activation.Silu);
        float[] all = c.Run(HostIsa.Active, 2);
        int image = all.Length / Shapes[index].Batch;
        for (int i = 0; i < Shapes[index].Batch; i++)
            AssertSameBits(all[(i * image)..((i + 1) * image)], c.Image(i).Run(HostIsa.Active, 1), $"image {i}");
    }

    [Fact]
    public void A_call_allocates_nothing()
    {
        using var memory = new Memory();
        using var pool = new WorkerPool(2);
        var s = Shape(3, 8, 8, 16, 16, 3, 3, 1, 1, 1, 1, 1, 1);
        void* packed = memory.Bytes(PackedWeights.Bytes(16, 16, 9, WeightType.BF16));
        PackedWeights.Pack(memory.Bytes(16 * 16 * 9 * 2), WeightType.BF16, 16, 16, 9, packed);
        void* scratch = memory.Bytes(Convolution.ScratchBytes(s, WeightType.BF16, 2));
        float* x = memory.Floats(3 * 64 * 16), y = memory.Floats(3 * 64 * 16);
        long before = 0;
        for (int i = 0; i < 2; i++)
        {
            before = GC.GetAllocatedBytesForCurrentThread();
            Convolution.Run(pool, s, x, 16, packed, WeightType.BF16, y, 16, Epilogue.None, scratch);
        }

        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());
    }

    private sealed class Case
    {
        private readonly ConvShape s;
        private readonly int ldx, ldy;
        private readonly WeightType type;
        private readonly float[] x, worth;
        private readonly byte[] stored;
        private readonly EpilogueCase epilogue;

        public Case(Random random, ConvShape shape, WeightType type, int parts, Activation activation)
        {
            (s, this.type) = (shape, type);
            ldx = s.Channels + (parts % 2 == 0 ? 0 : 3);            // dense maps are copied by whole rows
            ldy = s.Outputs + 5;
            x = GemmTestSupport.Random(random, (long)s.Batch * s.Height * s.Width * ldx);
            int terms = s.Channels * s.KernelH * s.KernelW;
            (stored, worth) = Store(GemmTestSupport.Random(random, (long)s.Outputs * terms, 2 / MathF.Sqrt(terms)), type);
            epilogue = EpilogueCase.Of(random, parts, activation, s.Outputs, s.Batch, (long)s.Batch * s.OutHeight * s.OutWidth);
        }

        private Case(Case batch, int image)
        {
            (s, ldx, ldy, type, stored, worth, epilogue) = (batch.s, batch.ldx, batch.ldy, batch.type, batch.stored, batch.worth, batch.epilogue);
            s.Batch = 1;
            int floats = s.Height * s.Width * ldx;
            x = batch.x[(image * floats)..((image + 1) * floats)];
        }

        public Case Image(int image) => new(this, image);

        public float[] Run(Isa isa, int threads)
        {
            using var memory = new Memory();
            using var pool = new WorkerPool(threads);
            byte* raw = (byte*)memory.Bytes(stored.Length);
            stored.CopyTo(new Span<byte>(raw, stored.Length));
            int taps = s.KernelH * s.KernelW, pixels = s.Batch * s.OutHeight * s.OutWidth;
            void* packed = memory.Bytes(PackedWeights.Bytes(s.Outputs, s.Channels, taps, type));
            PackedWeights.Pack(isa, raw, type, s.Outputs, s.Channels, taps, packed);
            float* y = memory.Floats(pixels * ldy);
            for (int i = 0; i < pixels; i++)
                for (int j = s.Outputs; j < ldy; j++) y[i * ldy + j] = Canary;
            Convolution.Run(isa, pool, s, memory.Copy(x), ldx, packed, type, y, ldy, epilogue.Bind(memory), memory.Bytes(Convolution.ScratchBytes(s, type, threads)));
            return new Span<float>(y, pixels * ldy).ToArray();
        }

        public void Check(float[] y)
        {
            int pixels = s.Batch * s.OutHeight * s.OutWidth, taps = s.KernelH * s.KernelW;
            double[] exact = new double[pixels * s.Outputs], naive = new double[pixels * s.Outputs];
            float[] actual = new float[pixels * s.Outputs];
            for (int p = 0; p < pixels; p++)
            {
                int image = p / (s.OutHeight * s.OutWidth), oy = p / s.OutWidth % s.OutHeight, ox = p % s.OutWidth;
                for (int j = s.Outputs; j < ldy; j++) Assert.Equal(Canary, y[p * ldy + j]);
                for (int o = 0; o < s.Outputs; o++)
                {
                    double sum = 0;
                    float plain = 0;
                    for (int t = 0; t < taps; t++)
                    {
                        int iy = oy * s.StrideH - s.PadTop + t / s.KernelW * s.DilationH, ix = ox * s.StrideW - s.PadLeft + t % s.KernelW * s.DilationW;
                        if (iy < 0 || iy >= s.Height || ix < 0 || ix >= s.Width) continue;
                        int at = ((image * s.Height + iy) * s.Width + ix) * ldx;
                        for (int c = 0; c < s.Channels; c++)
                        {
                            float w = worth[(o * s.Channels + c) * taps + t];
                            sum += (double)x[at + c] * w;
                            plain += x[at + c] * w;
                        }
                    }

                    exact[p * s.Outputs + o] = epilogue.Exact(sum, p, image, o);
                    naive[p * s.Outputs + o] = epilogue.Naive(plain, p, image, o);
                    actual[p * s.Outputs + o] = y[p * ldy + o];
                }
            }

            AssertClose(exact, naive, actual, $"{s.Batch}x{s.Height}x{s.Width}x{s.Channels} to {s.Outputs}, {s.KernelH}x{s.KernelW}, {type}");
        }
    }
}
