using DiffusionCore.Kernels.Host;
using static DiffusionCore.Kernels.Tests.ConvolutionCase;
using static DiffusionCore.Kernels.Tests.GemmTestSupport;

namespace DiffusionCore.Kernels.Tests;

public class WinogradTests
{
    private static readonly ConvShape[] Shapes =
    [
        Shape(1, 8, 8, 16, 16, 3, 3, 1, 1, 1, 1, 1, 1),
        Shape(2, 7, 9, 32, 49, 3, 3, 1, 1, 1, 1, 1, 1),              // tiles overhang, a second panel of one output
        Shape(3, 5, 6, 80, 5, 3, 3, 1, 1, 1, 1, 1, 1),               // two blocks of channels, few outputs
        Shape(1, 1, 1, 16, 33, 3, 3, 1, 1, 1, 1, 1, 1),              // nothing but border around one pixel
        Shape(2, 9, 10, 48, 20, 3, 3, 1, 1, 0, 0, 0, 0),             // no border
        Shape(1, 6, 11, 16, 24, 3, 3, 1, 1, 2, 0, 0, 2),             // an uneven border
        Shape(5, 4, 4, 144, 97, 3, 3, 1, 1, 1, 1, 1, 1),             // three blocks of channels, three panels
        Shape(1, 37, 41, 16, 16, 3, 3, 1, 1, 1, 1, 1, 1),            // several groups of tiles
        Shape(7, 12, 20, 16, 17, 3, 3, 1, 1, 1, 1, 1, 1),            // groups across images
        Shape(3, 60, 60, 16, 49, 3, 3, 1, 1, 1, 1, 1, 1),            // many groups: every job makes its own inputs
    ];

    public static TheoryData<int, WeightType, WinogradTile> Cases()
    {
        var data = new TheoryData<int, WeightType, WinogradTile>();
        for (int i = 0; i < Shapes.Length; i++)
            foreach (var tile in Enum.GetValues<WinogradTile>()) data.Add(i, (WeightType)((i + (int)tile / 2) % 3), tile);
        return data;
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Agrees_with_double_and_is_the_same_on_every_path_and_thread_count(int index, WeightType type, WinogradTile tile)
    {
        int variant = index * 3 + (int)tile;
        var c = new ConvolutionCase(new Random(variant), Shapes[index], type, variant % 16, Activations[variant % Activations.Length]);
        float[]? first = null;
        foreach (var isa in Isas())
        {
            foreach (int threads in isa == Isa.Scalar ? new[] { 2 } : [1, 2, 3, 8])
            {
                float[] y = c.Run(isa, threads, tile);
                if (first != null) AssertSameBits(first, y, $"{isa} with {threads} threads");
                first ??= y;
            }
        }

        Assert.InRange(c.RelativeError(first!), 0, tile == WinogradTile.F4 ? 5e-6 : 1e-6);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(6)]
    [InlineData(8)]
    [InlineData(9)]
    public void An_image_of_a_batch_is_the_image_alone(int index)
    {
        var c = new ConvolutionCase(new Random(index), Shapes[index], WeightType.F32, 1, Activation.Silu);
        float[] all = c.Run(HostIsa.Active, 2, WinogradTile.F4);
        int image = all.Length / Shapes[index].Batch;
        for (int i = 0; i < Shapes[index].Batch; i++)
            AssertSameBits(all[(i * image)..((i + 1) * image)], c.Image(i).Run(HostIsa.Active, 1, WinogradTile.F4), $"image {i}");
    }

    // The error grows with the root of the channels as that of a direct sum does; relative to the result it stays.
    [Theory]
    [InlineData(WinogradTile.F4, 320, 2e-6)]
    [InlineData(WinogradTile.F4, 1280, 2e-6)]
    [InlineData(WinogradTile.F2, 320, 5e-7)]
    public void Error_with_many_channels(WinogradTile tile, int channels, double limit)
    {
        var c = new ConvolutionCase(new Random(5), Shape(1, 16, 16, channels, 16, 3, 3, 1, 1, 1, 1, 1, 1), WeightType.F32, 0, Activation.None);
        Assert.InRange(c.RelativeError(c.Run(HostIsa.Active, 2, tile)), 1e-9, limit);
    }

    [Fact]
    public void Declines_what_it_cannot_do()
    {
        Assert.Null(Winograd.Declines(Shapes[0]));
        Assert.Equal("not 3x3", Winograd.Declines(Shape(1, 8, 8, 16, 16, 1, 3, 1, 1, 0, 1, 0, 1)));
        Assert.Equal("strided", Winograd.Declines(Shape(1, 8, 8, 16, 16, 3, 3, 2, 2, 1, 1, 1, 1)));
        Assert.Equal("dilated", Winograd.Declines(Shape(1, 8, 8, 16, 16, 3, 3, 1, 1, 2, 2, 2, 2, 2, 2)));
        Assert.Equal("channels not a multiple of 16", Winograd.Declines(Shape(1, 8, 8, 20, 16, 3, 3, 1, 1, 1, 1, 1, 1)));
    }
}
