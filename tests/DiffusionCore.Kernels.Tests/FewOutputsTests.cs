using DiffusionCore.Kernels.Host;
using static DiffusionCore.Kernels.Tests.ConvolutionCase;
using static DiffusionCore.Kernels.Tests.GemmTestSupport;

namespace DiffusionCore.Kernels.Tests;

public class FewOutputsTests
{
    private static readonly ConvShape[] Shapes =
    [
        Shape(1, 8, 8, 16, 1, 3, 3, 1, 1, 1, 1, 1, 1),
        Shape(2, 7, 9, 32, 2, 3, 3, 1, 1, 1, 1, 1, 1),
        Shape(3, 5, 6, 80, 3, 3, 3, 1, 1, 1, 1, 1, 1),
        Shape(1, 1, 1, 16, 4, 3, 3, 1, 1, 1, 1, 1, 1),
        Shape(2, 9, 10, 48, 4, 5, 3, 1, 1, 0, 0, 0, 0),
        Shape(1, 6, 11, 1040, 3, 1, 1, 1, 1, 0, 0, 0, 0),
        Shape(1, 6, 7, 64, 3, 7, 7, 1, 1, 3, 2, 3, 4),
    ];

    public static TheoryData<int> Cases() => [.. Enumerable.Range(0, Shapes.Length * 3)];

    [Theory]
    [MemberData(nameof(Cases))]
    public void Agrees_with_double_and_is_the_same_on_every_path_and_thread_count(int variant)
    {
        var c = new ConvolutionCase(new Random(variant), Shapes[variant / 3], (WeightType)(variant % 3), variant * 5 % 16, Activations[variant % Activations.Length]);
        float[]? first = null;
        foreach (var isa in Isas())
        {
            foreach (int threads in new[] { 1, 2, 3 })
            {
                float[] y = c.Run(isa, threads, ConvolutionKernel.FewOutputs);
                if (first != null) AssertSameBits(first, y, $"{isa} with {threads} threads");
                first ??= y;
            }
        }

        c.Check(first!);
    }

    [Fact]
    public void An_image_of_a_batch_is_the_image_alone()
    {
        var c = new ConvolutionCase(new Random(2), Shapes[2], WeightType.F32, 1, Activation.Silu);
        float[] all = c.Run(HostIsa.Active, 2, ConvolutionKernel.FewOutputs);
        int image = all.Length / Shapes[2].Batch;
        for (int i = 0; i < Shapes[2].Batch; i++)
            AssertSameBits(all[(i * image)..((i + 1) * image)], c.Image(i).Run(HostIsa.Active, 1, ConvolutionKernel.FewOutputs), $"image {i}");
    }

    [Theory]
    [InlineData(320, 4, 3, 1, ConvolutionKernel.FewOutputs)]
    [InlineData(320, 320, 3, 1, ConvolutionKernel.WinogradF4)]
    [InlineData(320, 320, 1, 1, ConvolutionKernel.Direct)]
    [InlineData(4, 320, 3, 1, ConvolutionKernel.Direct)]
    [InlineData(320, 320, 3, 2, ConvolutionKernel.Direct)]
    public void The_table_looks_at_one_image_only(int channels, int outputs, int kernel, int stride, ConvolutionKernel expected)
    {
        for (int batch = 1; batch <= 9; batch += 4)
        {
            var s = Shape(batch, 16, 16, channels, outputs, kernel, kernel, stride, stride, kernel / 2, kernel / 2, kernel / 2, kernel / 2);
            Assert.Equal(expected, ConvolutionChoice.Of(s, exact: false));
            Assert.NotEqual(ConvolutionKernel.WinogradF4, ConvolutionChoice.Of(s, exact: true));
        }
    }
}
