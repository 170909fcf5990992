using DiffusionCore.Kernels.Host;
using static DiffusionCore.Kernels.Tests.ConvolutionCase;
using static DiffusionCore.Kernels.Tests.GemmTestSupport;

namespace DiffusionCore.Kernels.Tests;

public unsafe class ConvolutionTests
{
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
        var c = new ConvolutionCase(new Random(variant), Shapes[index], type, variant % 16, Activations[variant % Activations.Length]);
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
        var c = new ConvolutionCase(new Random(index), Shapes[index], WeightType.F32, 1, Activation.Silu);
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
}
