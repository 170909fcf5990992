using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Kernels.Tests;

public unsafe class VectorMathTests
{
    private const int Count = 20_001;

    /// <summary>Function, interval, bound in ulp of the exact result, absolute error that is always allowed.</summary>
    public static TheoryData<Unary, double, double, double, double> Cases => new()
    {
        { Unary.Exp, -87.33, 88.72, 1.0, 0 },
        { Unary.Exp, -1, 1, 1.0, 0 },
        { Unary.Log, 1e-3, 4, 1.0, 0 },
        { Unary.Log, 1e-45, 1e-37, 1.0, 0 },
        { Unary.Log, 1, 3e38, 1.0, 0 },
        { Unary.Sigmoid, -85, 40, 2.5, 0 },
        { Unary.Silu, -80, 40, 3.0, 1e-36 },
        { Unary.Silu, -3, 3, 3.0, 0 },
        { Unary.Tanh, -12, 12, 2.0, 0 },
        { Unary.Tanh, -0.7, 0.7, 2.0, 0 },
        { Unary.Erf, -5, 5, 2.0, 0 },
        { Unary.Erf, -0.01, 0.01, 2.0, 0 },
        { Unary.Gelu, -8, 8, 3.0, 3e-7 },
        { Unary.GeluTanh, -8, 8, 8.0, 1e-7 },
        { Unary.QuickGelu, -30, 30, 8.0, 1e-7 },
        { Unary.Softplus, -30, 30, 3.0, 0 },
        { Unary.Sin, -3, 3, 1000, 1e-7 },
        { Unary.Sin, -2000, 2000, 0.5, 1e-7 },
        { Unary.Sin, -1e5, 1e5, 0.5, 1e-7 },
        { Unary.Cos, -2000, 2000, 0.5, 1e-7 },
        { Unary.Cos, -1e5, 1e5, 0.5, 1e-7 },
        { Unary.Sqrt, 0, 1e6, 0.5, 0 },
        { Unary.Reciprocal, 1e-3, 1e3, 0.5, 0 },
        { Unary.Square, -100, 100, 0.5, 0 },
    };

    [Theory]
    [MemberData(nameof(Cases))]
    public void A_function_is_within_its_ulp_bound_and_the_same_on_every_path(Unary function, double low, double high, double ulps, double absolute)
    {
        var random = new Random((int)function * 31 + (int)low);
        using var x = new FloatBuffer(Count);
        using var y = new FloatBuffer(Count);
        for (int i = 0; i < Count; i++)
            x.P[i] = i < 2 ? (float)(i == 0 ? low : high) : (float)(low > 0 && high / low > 1e3 ? Math.Exp(Math.Log(low) + random.NextDouble() * Math.Log(high / low)) : low + random.NextDouble() * (high - low));
        Paths.AllAgree(y, pool => UnaryKernel.Run(pool, function, x.P, y.P, Count));

        double worst = 0, at = 0;
        for (int i = 0; i < Count; i++)
        {
            double exact = Exact(function, x.P[i]), error = Math.Max(0, Math.Abs(y.P[i] - exact) - absolute) / Ulp(exact);
            if (!(error <= worst)) (worst, at) = (error, x.P[i]);
        }

        Assert.True(worst <= ulps, $"{function}: {worst:F3} ulp at {at:G9}, bound {ulps}");
    }

    [Theory]
    [InlineData(Unary.Exp, float.NegativeInfinity, 0f)]
    [InlineData(Unary.Exp, -87.34f, 0f)]
    [InlineData(Unary.Exp, 88.73f, float.PositiveInfinity)]
    [InlineData(Unary.Exp, float.PositiveInfinity, float.PositiveInfinity)]
    [InlineData(Unary.Exp, 0f, 1f)]
    [InlineData(Unary.Log, 0f, float.NegativeInfinity)]
    [InlineData(Unary.Log, 1f, 0f)]
    [InlineData(Unary.Log, -1f, float.NaN)]
    [InlineData(Unary.Log, float.NegativeInfinity, float.NaN)]
    [InlineData(Unary.Log, float.PositiveInfinity, float.PositiveInfinity)]
    [InlineData(Unary.Sigmoid, float.NegativeInfinity, 0f)]
    [InlineData(Unary.Sigmoid, float.PositiveInfinity, 1f)]
    [InlineData(Unary.Silu, float.PositiveInfinity, float.PositiveInfinity)]
    [InlineData(Unary.Silu, -200f, 0f)]
    [InlineData(Unary.Tanh, float.PositiveInfinity, 1f)]
    [InlineData(Unary.Tanh, float.NegativeInfinity, -1f)]
    [InlineData(Unary.Erf, float.NegativeInfinity, -1f)]
    [InlineData(Unary.Gelu, -100f, 0f)]
    [InlineData(Unary.Gelu, 100f, 100f)]
    [InlineData(Unary.GeluTanh, -1e30f, 0f)]
    [InlineData(Unary.GeluTanh, 1e30f, 1e30f)]
    [InlineData(Unary.Sin, float.PositiveInfinity, float.NaN)]
    [InlineData(Unary.Softplus, -200f, 0f)]
    [InlineData(Unary.Softplus, 200f, 200f)]
    [InlineData(Unary.Softplus, float.PositiveInfinity, float.PositiveInfinity)]
    [InlineData(Unary.Relu, -0.5f, 0f)]
    [InlineData(Unary.Sqrt, -1f, float.NaN)]
    [InlineData(Unary.Reciprocal, 0f, float.PositiveInfinity)]
    public void Edges_have_their_limits_on_every_path(Unary function, float x, float expected)
    {
        foreach (var isa in Paths.Available)
        {
            using var pool = Paths.Pool(isa);
            float y;
            UnaryKernel.Run(pool, function, &x, &y, 1);
            Assert.Equal(expected, y);
        }
    }

    [Fact]
    public void Nan_stays_nan_in_every_function()
    {
        foreach (var isa in Paths.Available)
        {
            using var pool = Paths.Pool(isa);
            foreach (var function in Enum.GetValues<Unary>())
            {
                float x = float.NaN, y;
                UnaryKernel.Run(pool, function, &x, &y, 1);
                Assert.True(float.IsNaN(y), $"{function} on {isa} gives {y}");
            }
        }
    }

    [Fact]
    public void Scalar_forms_give_the_bytes_of_the_vector_forms()
    {
        var random = new Random(5);
        using var x = FloatBuffer.Normal(random, 333, 0, 4);
        using var y = new FloatBuffer(333);
        using var pool = new WorkerPool(1);
        (Unary, Func<float, float>)[] pairs =
        [
            (Unary.Exp, VectorMath.Exp), (Unary.Log, VectorMath.Log), (Unary.Sigmoid, VectorMath.Sigmoid), (Unary.Silu, VectorMath.Silu), (Unary.Tanh, VectorMath.Tanh),
            (Unary.Erf, VectorMath.Erf), (Unary.Gelu, VectorMath.Gelu), (Unary.GeluTanh, VectorMath.GeluTanh), (Unary.QuickGelu, VectorMath.QuickGelu),
            (Unary.Sin, VectorMath.Sin), (Unary.Cos, VectorMath.Cos),
        ];
        foreach (var (function, scalar) in pairs)
        {
            UnaryKernel.Run(pool, function, x.P, y.P, x.Count);
            for (int i = 0; i < x.Count; i++) Assert.Equal(y.P[i], scalar(x.P[i]));
        }
    }

    [Fact]
    public void Exp2_is_within_one_ulp_and_exact_at_integers()
    {
        var random = new Random(6);
        for (int i = 0; i < 5000; i++)
        {
            float x = (float)(random.NextDouble() * 253.9 - 126);
            Assert.True(Math.Abs(VectorMath.Exp2(x) - Math.Pow(2, x)) <= 1.0 * Ulp(Math.Pow(2, x)), $"{x}");
        }

        for (int e = -126; e < 128; e++) Assert.Equal(MathF.ScaleB(1, e), VectorMath.Exp2(e));
        Assert.Equal(float.PositiveInfinity, VectorMath.Exp2(128f));
        Assert.Equal(0f, VectorMath.Exp2(-126.5f));
        Assert.Equal(float.NaN, VectorMath.Exp2(float.NaN));
    }

    [Fact]
    public void An_activation_by_number_is_the_function_by_name()
    {
        float* lanes = stackalloc float[16];
        (Activation, Func<float, float>)[] pairs =
        [
            (Activation.None, x => x), (Activation.Relu, x => MathF.Max(0, x)), (Activation.Silu, VectorMath.Silu), (Activation.Gelu, VectorMath.Gelu), (Activation.GeluTanh, VectorMath.GeluTanh),
            (Activation.QuickGelu, VectorMath.QuickGelu), (Activation.Sigmoid, VectorMath.Sigmoid), (Activation.Tanh, VectorMath.Tanh),
        ];
        foreach (var (activation, named) in pairs)
        {
            for (float x = -4; x < 4; x += 0.37f)
            {
                Simd16Scalar.Store(VectorMath.Apply(activation, Simd16Scalar.Create(x)), lanes);
                Assert.Equal(named(x), lanes[7]);
            }
        }
    }

    private static double Ulp(double exact)
    {
        float f = Math.Abs((float)exact);
        return f < 1.1754944e-38f ? 1.401298464324817e-45 : Math.ScaleB(1, Math.ILogB(f) - 23);
    }

    private static double Exact(Unary function, double x) => function switch
    {
        Unary.Exp => Math.Exp(x),
        Unary.Log => Math.Log(x),
        Unary.Sigmoid => 1 / (1 + Math.Exp(-x)),
        Unary.Silu => x / (1 + Math.Exp(-x)),
        Unary.Tanh => Math.Tanh(x),
        Unary.Erf => Reference.Erf(x),
        Unary.Gelu => x / 2 * (1 + Reference.Erf(x / Math.Sqrt(2))),
        Unary.GeluTanh => x / (1 + Math.Exp(-2 * Math.Sqrt(2 / Math.PI) * (x + 0.044715 * x * x * x))),
        Unary.QuickGelu => x / (1 + Math.Exp(-1.702 * x)),
        Unary.Softplus => Math.Max(x, 0) + Reference.Log1P(Math.Exp(-Math.Abs(x))),
        Unary.Sin => Math.Sin(x),
        Unary.Cos => Math.Cos(x),
        Unary.Sqrt => Math.Sqrt(x),
        Unary.Reciprocal => 1 / x,
        Unary.Square => x * x,
        _ => throw new ArgumentOutOfRangeException(nameof(function)),
    };
}
