using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Kernels.Tests;

public unsafe class BinaryCopyTests
{
    /// <summary>Shape of the result, shapes of a and b (numpy broadcasting).</summary>
    public static TheoryData<long[], long[], long[]> Shapes => new()
    {
        { [1], [1], [1] },
        { [20_001], [20_001], [20_001] },
        { [97, 111], [97, 111], [111] },
        { [97, 111], [97, 1], [97, 111] },
        { [3, 5, 7, 17], [3, 1, 7, 17], [5, 1, 1] },
        { [2, 3, 2, 3, 2, 19], [2, 3, 2, 3, 2, 19], [2, 1, 2, 1, 2, 1] },
        { [4, 33], [], [4, 33] },
    };

    [Theory]
    [MemberData(nameof(Shapes))]
    public void A_binary_function_broadcasts_and_rounds_once(long[] shape, long[] a, long[] b)
    {
        var random = new Random(shape.Length);
        long count = shape.Aggregate(1L, (p, n) => p * n);
        using var x = FloatBuffer.Normal(random, a.Aggregate(1L, (p, n) => p * n), 1);
        using var z = FloatBuffer.Normal(random, b.Aggregate(1L, (p, n) => p * n), 1);
        using var y = new FloatBuffer(count);
        long[] sa = new long[shape.Length], sb = new long[shape.Length], sy = new long[shape.Length];
        StridedLoop.Broadcast(a, shape, sa);
        StridedLoop.Broadcast(b, shape, sb);
        StridedLoop.Broadcast(shape, shape, sy);
        foreach (var f in Enum.GetValues<Binary>())
        {
            if (f == Binary.Pow) x.Span.ForEach(v => Math.Abs(v) + 0.1f);
            Paths.AllAgree(y, pool => BinaryKernel.Run(pool, f, StridedLoop.Create(shape, sa, sb, sy), x.P, z.P, y.P));
            for (long i = 0; i < count; i++)
            {
                long rest = i, ia = 0, ib = 0;
                for (int axis = shape.Length - 1; axis >= 0; axis--)
                {
                    ia += rest % shape[axis] * sa[axis];
                    ib += rest % shape[axis] * sb[axis];
                    rest /= shape[axis];
                }

                float u = x.P[ia], v = z.P[ib];
                float expected = f switch
                {
                    Binary.Add => u + v,
                    Binary.Sub => u - v,
                    Binary.Mul => u * v,
                    Binary.Div => u / v,
                    Binary.Max => MathF.Max(u, v),
                    Binary.Min => MathF.Min(u, v),
                    _ => (float)Math.Pow(u, v),
                };
                Assert.Equal(expected, y.P[i]);
            }
        }
    }

    [Fact]
    public void Max_and_min_pass_a_nan_from_either_side()
    {
        using var a = new FloatBuffer(Enumerable.Range(0, 37).Select(i => i % 3 == 0 ? float.NaN : i).ToArray());
        using var b = new FloatBuffer(Enumerable.Range(0, 37).Select(i => i % 4 == 0 ? float.NaN : 5f).ToArray());
        using var y = new FloatBuffer(37);
        foreach (var isa in Paths.Available)
        {
            using var pool = Paths.Pool(isa);
            foreach (var f in new[] { Binary.Max, Binary.Min })
            {
                BinaryKernel.Run(pool, f, StridedLoop.Create([37], [1], [1], [1]), a.P, b.P, y.P);
                for (int i = 0; i < 37; i++) Assert.Equal(i % 3 == 0 || i % 4 == 0, float.IsNaN(y.P[i]));
            }
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(4)]
    [InlineData(8)]
    public void A_strided_copy_permutes_slices_backwards_and_places(int size)
    {
        // y[c, h, w] of a [5, 19, 33] array = x[h, 18 - w.., c]: a permutation, a reversed axis with step 2, and a target inside a larger array.
        const int h = 7, w = 19, c = 3, wide = 40;
        var x = new byte[h * w * c * size];
        new Random(size).NextBytes(x);
        var y = new byte[c * h * wide * size];
        Array.Fill(y, (byte)0xA5);
        int taken = (w + 1) / 2;
        using var pool = new WorkerPool(2);
        fixed (byte* px = x, py = y)
        {
            var loop = StridedLoop.Create([c, h, taken], [1, w * c, -2 * c], [h * wide, wide, 1], []);
            CopyKernel.Run(pool, loop, size, px + (w - 1) * c * size, py + 4 * size);
        }

        for (int i = 0; i < c * h * wide; i++)
        {
            int column = i % wide - 4, row = i / wide % h, channel = i / wide / h;
            bool inside = column >= 0 && column < taken;
            for (int k = 0; k < size; k++)
                Assert.Equal(inside ? x[((row * w + w - 1 - 2 * column) * c + channel) * size + k] : 0xA5, y[i * size + k]);
        }
    }

    [Fact]
    public void Affine_is_one_rounding_and_fill_fills()
    {
        using var x = FloatBuffer.Normal(new Random(1), 8200);
        using var y = new FloatBuffer(8200);
        Paths.AllAgree(y, pool => UnaryKernel.RunAffine(pool, 1.7f, -0.3f, x.P, y.P, 8200));
        for (int i = 0; i < 8200; i++) Assert.Equal(MathF.FusedMultiplyAdd(1.7f, x.P[i], -0.3f), y.P[i]);
        using var pool = new WorkerPool(2);
        CopyKernel.Fill(pool, 4.5f, y.P, 8199);
        for (int i = 0; i < 8199; i++) Assert.Equal(4.5f, y.P[i]);
        Assert.NotEqual(4.5f, y.P[8199]);
    }

    [Fact]
    public void Geglu_is_the_product_with_the_gates_gelu()
    {
        const int rows = 9, half = 37;
        using var x = FloatBuffer.Normal(new Random(1), rows * 2 * half);
        using var y = new FloatBuffer(rows * half);
        Paths.AllAgree(y, pool => GegluKernel.Run(pool, x.P, y.P, rows, half));
        for (int i = 0; i < rows * half; i++)
        {
            int r = i / half, c = i % half;
            double exact = x.P[r * 2 * half + c] * Reference.Apply(Activation.Gelu, x.P[r * 2 * half + half + c]);
            Assert.InRange(y.P[i], exact - 1e-6, exact + 1e-6);
        }
    }

    [Theory]
    [InlineData(Border.Constant)]
    [InlineData(Border.Reflect)]
    [InlineData(Border.Edge)]
    [InlineData(Border.Wrap)]
    public void Padding_takes_its_border_from_the_rule(Border border)
    {
        long[] shape = [2, 4, 5], before = [1, 3, 2], after = [0, 2, 4];
        if (border == Border.Reflect) before[0] = 1;
        using var x = FloatBuffer.Normal(new Random(4), 40);
        using var y = new FloatBuffer(3 * 9 * 11);
        Paths.AllAgree(y, pool => PadKernel.Run(pool, border, shape, before, after, 4, BitConverter.SingleToUInt32Bits(-7), (byte*)x.P, (byte*)y.P));
        for (int i = 0; i < y.Count; i++)
        {
            int a = Source(border, i / 99 - 1, 2), b = Source(border, i / 11 % 9 - 3, 4), c = Source(border, i % 11 - 2, 5);
            Assert.Equal(a < 0 || b < 0 || c < 0 ? -7 : x.P[(a * 4 + b) * 5 + c], y.P[i]);
        }

        // Walks to the element instead of computing it.
        static int Source(Border border, int at, int extent)
        {
            while (at < 0 || at >= extent)
            {
                if (border == Border.Constant) return -1;
                if (border == Border.Edge) at += at < 0 ? 1 : -1;
                else if (border == Border.Wrap) at += at < 0 ? extent : -extent;
                else at = at < 0 ? -at : 2 * (extent - 1) - at;
            }

            return at;
        }
    }
}

internal static class SpanExtensions
{
    public static void ForEach(this Span<float> span, Func<float, float> f)
    {
        foreach (ref float v in span) v = f(v);
    }
}
