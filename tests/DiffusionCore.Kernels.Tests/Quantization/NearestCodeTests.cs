using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Kernels.Tests;

public unsafe class NearestCodeTests
{
    [Theory]
    [InlineData(1, 1, 1)]
    [InlineData(16, 97, 3)]
    [InlineData(131, 64, 4)]
    [InlineData(33, 1000, 17)]
    public void The_nearest_code_of_double_wins_on_every_path(int rows, int codes, int width)
    {
        var random = new Random(rows * codes);
        using var x = FloatBuffer.Normal(random, rows * width);
        using var table = FloatBuffer.Normal(random, codes * width);
        foreach (long[] y in OnEveryPath(x, table, rows, codes, width))
        {
            for (int r = 0; r < rows; r++)
            {
                double[] distance = [.. Enumerable.Range(0, codes).Select(k => Distance(x, table, r, k, width))];
                Assert.InRange(y[r], 0, codes - 1);
                Assert.True(distance[y[r]] <= distance.Min() * (1 + 1e-6), $"row {r}: {distance[y[r]]} above {distance.Min()}");
            }
        }
    }

    [Fact]
    public void Of_equally_near_codes_the_first_wins_and_a_row_without_numbers_gets_the_first_code()
    {
        using var x = new FloatBuffer(17 * 2);
        using var table = new FloatBuffer(5 * 2);
        for (int i = 0; i < x.Count; i++) x.P[i] = 0;
        float[] codes = [3, 4, 1, 0, 0, 1, 0, -1, 1, 0];
        for (int i = 0; i < codes.Length; i++) table.P[i] = codes[i];
        x.P[2 * 16] = float.NaN;
        foreach (long[] y in OnEveryPath(x, table, 17, 5, 2)) Assert.Equal([.. Enumerable.Repeat(1L, 16), 0], y);
    }

    private static double Distance(FloatBuffer x, FloatBuffer table, int row, int code, int width) =>
        Enumerable.Range(0, width).Sum(d => Math.Pow((double)x.P[row * width + d] - table.P[code * width + d], 2));

    private static IEnumerable<long[]> OnEveryPath(FloatBuffer x, FloatBuffer table, int rows, int codes, int width)
    {
        var all = new List<long[]>();
        foreach (var isa in Paths.Available)
        {
            using var pool = Paths.Pool(isa, 2);
            var y = new long[rows];
            fixed (long* p = y) NearestCode.Run(pool, x.P, table.P, p, rows, codes, width);
            all.Add(y);
        }

        foreach (long[] y in all) Assert.Equal(all[0], y);
        return all;
    }
}
