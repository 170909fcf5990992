using DiffusionCore.Pipelines;

namespace DiffusionCore.Tests.Pipelines;

public class TileAxisTests
{
    [Theory]
    [InlineData(10, 16, 4, 2)]
    [InlineData(16, 16, 8, 4)]
    [InlineData(17, 16, 8, 1)]
    [InlineData(97, 24, 5, 4)]
    [InlineData(113, 64, 16, 8)]
    [InlineData(1000, 32, 16, 2)]
    public void Tiles_cover_the_axis_share_enough_and_count_for_one_everywhere(int length, int tile, int overlap, int factor)
    {
        var axis = new TileAxis(length, tile, overlap, factor);
        int count = axis.Starts.Length;
        Assert.Equal(0, axis.Starts[0]);
        Assert.Equal(length, axis.Starts[^1] + axis.Tile);
        Assert.Equal(length > tile, count > 1);
        for (int i = 1; i < count; i++) Assert.True(axis.Starts[i - 1] + axis.Tile - axis.Starts[i] >= overlap, $"tile {i}");

        var total = new double[length * factor];
        for (int i = 0; i < count; i++)
        {
            for (int p = 0; p < axis.Weights[i].Length; p++)
            {
                Assert.InRange(axis.Weights[i][p], 0f, 1f);
                total[axis.Starts[i] * factor + p] += axis.Weights[i][p];
            }

            // The ends that lack their surroundings do not count, except at the ends of the axis.
            if (i > 0) Assert.Equal(0, axis.Weights[i][0]);
            if (i < count - 1) Assert.Equal(0, axis.Weights[i][^1]);
            Assert.InRange(axis.Bounds[i], axis.Starts[i], axis.Bounds[i + 1]);
            Assert.InRange(axis.Bounds[i + 1], axis.Bounds[i] + 1, axis.Starts[i] + axis.Tile);
        }

        Assert.All(total, t => Assert.InRange(t, 1 - 1e-6, 1 + 1e-6));
        Assert.Equal((0, length), (axis.Bounds[0], axis.Bounds[^1]));
    }
}
