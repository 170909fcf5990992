using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;
using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Kernels.Tests;

/// <summary>Native floats without a garbage collector to move them; freed by the using that owns the pool of them.</summary>
internal sealed unsafe class Memory : IDisposable
{
    private readonly List<nint> blocks = [];

    public void* Bytes(long bytes)
    {
        void* p = NativeMemory.AlignedAlloc((nuint)Math.Max(bytes, 64), 64);
        NativeMemory.Fill(p, (nuint)bytes, 0xFF);       // NaN wherever nobody writes
        blocks.Add((nint)p);
        return p;
    }

    public float* Floats(long n) => (float*)Bytes(n * sizeof(float));

    public float* Copy(float[] values)
    {
        float* p = Floats(values.Length);
        values.CopyTo(new Span<float>(p, values.Length));
        return p;
    }

    public void Dispose()
    {
        foreach (nint p in blocks) NativeMemory.AlignedFree((void*)p);
    }
}

/// <summary>What the tests of products, convolutions and attention share.</summary>
internal static unsafe class GemmTestSupport
{
    public const float Canary = -12345.5f;

    public static readonly Activation[] Activations = Enum.GetValues<Activation>();

    /// <summary>Every path that this processor and process can run.</summary>
    public static IEnumerable<Isa> Isas()
    {
        yield return Isa.Scalar;
        if (Avx2.IsSupported && Fma.IsSupported) yield return Isa.Avx2;
        if (HostIsa.Active == Isa.Avx512) yield return Isa.Avx512;
    }

    public static float[] Random(Random random, long n, float scale = 1)
    {
        var values = new float[n];
        for (long i = 0; i < n; i++) values[i] = (float)(random.NextDouble() * 2 - 1) * scale;
        return values;
    }

    /// <summary>Values in the stored type, and what they are worth.</summary>
    public static (byte[] Stored, float[] Worth) Store(float[] values, WeightType type)
    {
        var worth = new float[values.Length];
        var stored = new byte[values.Length * (type == WeightType.F32 ? 4 : 2)];
        for (int i = 0; i < values.Length; i++)
        {
            switch (type)
            {
                case WeightType.F32:
                    worth[i] = values[i];
                    BitConverter.TryWriteBytes(stored.AsSpan(i * 4), values[i]);
                    break;
                case WeightType.F16:
                    worth[i] = (float)(Half)values[i];
                    BitConverter.TryWriteBytes(stored.AsSpan(i * 2), (Half)values[i]);
                    break;
                default:
                    uint bits = BitConverter.SingleToUInt32Bits(values[i]) & 0xFFFF0000;
                    worth[i] = BitConverter.UInt32BitsToSingle(bits);
                    BitConverter.TryWriteBytes(stored.AsSpan(i * 2), (ushort)(bits >> 16));
                    break;
            }
        }

        return (stored, worth);
    }

    public static double Activate(Activation activation, double v) => activation switch
    {
        Activation.None => v,
        Activation.Silu => v / (1 + Math.Exp(-v)),
        Activation.Relu => Math.Max(0, v),
        Activation.Gelu => v * 0.5 * (1 + Erf(v / Math.Sqrt(2))),
        Activation.GeluTanh => v * 0.5 * (1 + Math.Tanh(Math.Sqrt(2 / Math.PI) * (v + 0.044715 * v * v * v))),
        Activation.QuickGelu => v / (1 + Math.Exp(-1.702 * v)),
        Activation.Sigmoid => 1 / (1 + Math.Exp(-v)),
        _ => Math.Tanh(v),
    };

    // The Maclaurin series; enough for the |x| < 6 that is not 1 to double precision.
    private static double Erf(double x)
    {
        if (Math.Abs(x) > 6) return Math.Sign(x);
        double term = x, sum = x;
        for (int n = 1; n < 200; n++)
        {
            term *= -x * x / n;
            sum += term / (2 * n + 1);
        }

        return 2 / Math.Sqrt(Math.PI) * sum;
    }

    public static void AssertSameBits(float[] expected, float[] actual, string what)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < expected.Length; i++)
        {
            if (BitConverter.SingleToInt32Bits(expected[i]) != BitConverter.SingleToInt32Bits(actual[i]))
                Assert.Fail($"{what}: element {i} is {actual[i]:R}, expected the bits of {expected[i]:R}");
        }
    }

    /// <summary>Largest error at most twice that of the naive float loop, and a little for its luck.</summary>
    public static void AssertClose(double[] exact, double[] naive, float[] actual, string what, double factor = 2)
    {
        double naiveError = 0, error = 0, largest = 0;
        int at = 0;
        for (int i = 0; i < exact.Length; i++)
        {
            if (double.IsNaN(actual[i]) && !double.IsNaN(exact[i])) Assert.Fail($"{what}: element {i} is NaN, expected {exact[i]}");
            naiveError = Math.Max(naiveError, Math.Abs(naive[i] - exact[i]));
            largest = Math.Max(largest, Math.Abs(exact[i]));
            if (Math.Abs(actual[i] - exact[i]) <= error) continue;
            error = Math.Abs(actual[i] - exact[i]);
            at = i;
        }

        double limit = factor * naiveError + 1e-6 * largest;
        Assert.True(error <= limit, $"{what}: element {at} is {actual[at]}, expected {exact[at]}: error {error:E2}, naive {naiveError:E2}, limit {limit:E2}");
    }
}

/// <summary>An epilogue with or without each of its parts, over pitched buffers.</summary>
internal sealed unsafe class EpilogueCase
{
    public float[]? Bias, Channel, Residual;
    public int Outputs, ChannelPitch, ResidualPitch;
    public float Scale = 1;
    public Activation Activation;

    /// <param name="parts">Bits: 1 bias, 2 channel vector, 4 residual, 8 scale.</param>
    public static EpilogueCase Of(Random random, int parts, Activation activation, int outputs, int images, long rows)
    {
        var e = new EpilogueCase { Outputs = outputs, ChannelPitch = outputs + 3, ResidualPitch = outputs + 5, Activation = activation };
        if ((parts & 1) != 0) e.Bias = GemmTestSupport.Random(random, outputs);
        if ((parts & 2) != 0) e.Channel = GemmTestSupport.Random(random, (long)images * e.ChannelPitch);
        if ((parts & 4) != 0) e.Residual = GemmTestSupport.Random(random, rows * e.ResidualPitch);
        if ((parts & 8) != 0) e.Scale = 0.7071f;
        return e;
    }

    public Epilogue Bind(Memory memory) => new()
    {
        Bias = Bias == null ? null : memory.Copy(Bias),
        ChannelAdd = Channel == null ? null : memory.Copy(Channel),
        ChannelAddPitch = ChannelPitch,
        Residual = Residual == null ? null : memory.Copy(Residual),
        ResidualPitch = ResidualPitch,
        Scale = Scale,
        Activation = Activation,
    };

    public double Exact(double v, long row, long image, int o)
    {
        if (Bias != null) v += Bias[o];
        if (Channel != null) v += Channel[image * ChannelPitch + o];
        v = GemmTestSupport.Activate(Activation, v);
        if (Residual != null) v += Residual[row * ResidualPitch + o];
        return v * Scale;
    }

    public float Naive(float v, long row, long image, int o)
    {
        if (Bias != null) v += Bias[o];
        if (Channel != null) v += Channel[image * ChannelPitch + o];
        v = (float)GemmTestSupport.Activate(Activation, v);
        if (Residual != null) v += Residual[row * ResidualPitch + o];
        return v * Scale;
    }
}
