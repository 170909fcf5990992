using System.Globalization;
using System.Text.Json;
using DiffusionCore.Noise;
using DiffusionCore.Runtime;

namespace DiffusionCore.Tests.Noise;

/// <summary>The streams of the peer's generators: published first values, and a table of the peer's draws.</summary>
public sealed class TorchGeneratorTests
{
    // Measured: 2.4e-7 at most over the table, 1.1e-5 in the sum of 16384.
    private const double Tolerance = 1e-6;

    [Theory]
    [InlineData(0, 4, "1.540996 -0.293429 -2.178789 0.568431")]
    [InlineData(42, 4, "0.336690 0.128809 0.234462 0.230333")]
    [InlineData(0, 16, "-1.125840 -1.152360 -0.250579 -0.433879 0.848710 0.692009 -0.316013 -2.115219")]
    [InlineData(0, 20, "-1.125840 -1.152360 -0.250579 -0.433879 0.598839")]
    [InlineData(42, 16, "1.926915 1.487284 0.900717 -2.105521")]
    public void Float_draws_start_as_published(ulong seed, int n, string first) => AssertStarts(first, Draw(seed, n, DType.F32));

    [Fact]
    public void A_draw_that_is_no_multiple_of_sixteen_ends_as_published() => AssertStarts("2.004981 0.053737", Draw(0, 20, DType.F32)[^2..]);

    [Fact]
    public void A_latent_has_its_published_sum_and_extremes()
    {
        float[] z = Draw(0, 4 * 64 * 64, DType.F32);
        Assert.Equal(-1.078208, z[^1], Tolerance);
        Assert.Equal(-124.11269989912398, z.Sum(v => (double)v), 2e-5);
        Assert.Equal(4.34328, z.Max(MathF.Abs), 1e-5);
    }

    [Theory]
    [InlineData(DType.F16, "-0.901367 0.481445 1.198242 0.906250 0.799805 -0.254883")]
    [InlineData(DType.BF16, "1.460938 0.291016 0.960938 1.570312 0.494141 -1.515625")]
    public void Half_types_have_streams_of_their_own(DType type, string first) => AssertStarts(first, Draw(0, 16, type));

    [Theory]
    [InlineData(DType.F16)]
    [InlineData(DType.BF16)]
    public void A_short_draw_is_the_same_numbers_rounded_to_the_type(DType type)
    {
        float[] whole = Draw(7, 15, DType.F32), rounded = Draw(7, 15, type);
        for (int i = 0; i < whole.Length; i++)
        {
            Assert.Equal(whole[i], rounded[i], MathF.Abs(whole[i]) / (type == DType.F16 ? 2048 : 256));
            Assert.Equal(rounded[i], type == DType.F16 ? (float)(Half)rounded[i] : BitConverter.UInt32BitsToSingle(BitConverter.SingleToUInt32Bits(rounded[i]) & 0xFFFF0000));
        }
    }

    [Fact]
    public void Double_draws_start_as_published()
    {
        var z = new double[16];
        new TorchCpuGenerator(0).Normal(z);
        AssertStarts("-2.310412 -0.373251 -1.060817 0.999509", Array.ConvertAll(z, v => (float)v));
    }

    [Fact]
    public void Only_the_low_32_bits_of_a_seed_count() => Assert.Equal(Draw(5, 40, DType.F32), Draw(5 + (1UL << 32), 40, DType.F32));

    [Fact]
    public void The_second_of_a_pair_waits_for_the_next_draw()
    {
        var g = new TorchCpuGenerator(0);
        var z = new float[4];
        for (int i = 0; i < 4; i++) g.Normal(z.AsSpan(i, 1));
        Assert.Equal(Draw(0, 4, DType.F32), z);
    }

    [ConformanceFact]
    public void Every_draw_of_the_table_agrees()
    {
        int compared = 0;
        using var table = JsonDocument.Parse(File.ReadAllBytes(ConformanceData.PathOf("torch_rng.json")));
        foreach (var c in table.RootElement.GetProperty("cases").EnumerateArray())
        {
            var g = new TorchCpuGenerator(c.GetProperty("seed").GetUInt64());
            int n = c.GetProperty("n").GetInt32();
            double[] first = Numbers(c, "first");
            string what = $"{c.GetProperty("fn").GetString()} seed {g.Seed} n {n}";
            switch (c.GetProperty("fn").GetString())
            {
                case "randn_f32":
                    float[] z = new float[n], next = new float[16];
                    g.Normal(z);
                    g.Normal(next);
                    AssertClose(what, first, Wide(z)[..first.Length]);
                    double[] last = Numbers(c, "last4");
                    AssertClose(what + " last4", last, Wide(z)[^last.Length..]);
                    AssertClose(what + " next16", Numbers(c, "next16"), Wide(next));
                    Assert.Equal(c.GetProperty("sum").GetDouble(), Wide(z).Sum(), 1e-6 * Math.Sqrt(n) + 1e-6);
                    break;
                case "rand_f32":
                    var u = new float[n];
                    g.Uniform(u);
                    AssertClose(what, first, Wide(u), 1e-9);
                    break;
                case "randn_f64":
                    var d = new double[n];
                    g.Normal(d);
                    AssertClose(what, first, d, 1e-13);
                    break;
                case "randint_0_1000":
                    Assert.Equal(first, Enumerable.Range(0, n).Select(_ => (double)(g.Next32() % 1000)));
                    break;
                default:
                    continue;                                              // numpy's own polar method on the same engine: no generator of this engine
            }

            compared++;
        }

        Assert.Equal(78, compared);
    }

    [Fact]
    public void Philox_of_zeros_is_as_published()
    {
        var words = new uint[4];
        TorchCudaGenerator.Philox(0, 0, 0, words);
        Assert.Equal([0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8], words);
    }

    [Theory]
    [InlineData(0, "-0.924662 -0.425344 -2.643846 0.145184")]
    [InlineData(42, "0.194019 2.161374 -0.172051")]
    public void Cuda_draws_start_as_published(ulong seed, string first)
    {
        var z = new float[4096];
        new TorchCudaGenerator(seed).Normal(z);
        AssertStarts(first, z);
        new TorchCudaGenerator(seed, multiprocessors: 108).Normal(z);
        AssertStarts(first, z);
    }

    [Fact]
    public void A_draw_beyond_the_threads_of_the_gpu_takes_the_next_components()
    {
        // One multiprocessor of 256 threads: element 256 is the second component of thread 0, element 1024 the first of its next counter.
        var z = new float[1300];
        var g = new TorchCudaGenerator(3, multiprocessors: 1, threadsPerMultiprocessor: 256);
        g.Normal(z);
        var single = new float[1];
        var one = new TorchCudaGenerator(3);
        one.Normal(single);
        Assert.Equal(single[0], z[0]);
        one.Normal(single);
        Assert.Equal(single[0], z[1024]);
        // The two of a Box-Muller pair share a radius.
        var words = new uint[4];
        TorchCudaGenerator.Philox(0, 0, 3, words);
        Assert.Equal(-2 * Math.Log((words[0] + 0.5) / 4294967296.0), z[0] * z[0] + z[256] * z[256], 1e-5);
        Assert.Equal(-2 * Math.Log((words[2] + 0.5) / 4294967296.0), z[512] * z[512] + z[768] * z[768], 1e-5);
        one.Normal(single);
        g.Normal(z.AsSpan(0, 1));
        Assert.Equal(single[0], z[0]);                                      // 1300 elements took two counters of each thread
    }

    [Fact]
    public void Draws_allocate_nothing()
    {
        INoiseSource[] sources = [new TorchCpuGenerator(1), new TorchCudaGenerator(1)];
        var z = new float[1000];
        foreach (var source in sources)
        {
            source.Normal(z);
            long before = GC.GetAllocatedBytesForCurrentThread();
            for (int i = 0; i < 5; i++) source.Normal(z);
            source.Normal(z.AsSpan(0, 7));
            Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());
        }
    }

    [Fact]
    public void Draws_are_normal()
    {
        INoiseSource[] sources = [new TorchCpuGenerator(9), new TorchCudaGenerator(9), new TorchCudaGenerator(9, 4)];
        foreach (var source in sources)
        {
            var z = new float[200_000];
            source.Normal(z);
            Assert.Equal(0, z.Average(v => (double)v), 0.01);
            Assert.Equal(1, z.Average(v => (double)v * v), 0.02);
            Assert.Equal(3, z.Average(v => Math.Pow(v, 4)), 0.15);
        }
    }

    private static float[] Draw(ulong seed, int n, DType type)
    {
        var z = new float[n];
        new TorchCpuGenerator(seed).Normal(z, type);
        return z;
    }

    private static double[] Wide(float[] v) => Array.ConvertAll(v, f => (double)f);

    private static double[] Numbers(JsonElement c, string name) => [.. c.GetProperty(name).EnumerateArray().Select(e => e.GetDouble())];

    private static void AssertStarts(string expected, float[] actual)
    {
        double[] first = [.. expected.Split(' ').Select(s => double.Parse(s, CultureInfo.InvariantCulture))];
        AssertClose("start", first, Wide(actual)[..first.Length]);
    }

    private static void AssertClose(string what, double[] expected, double[] actual, double tolerance = Tolerance)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < expected.Length; i++) Assert.True(Math.Abs(expected[i] - actual[i]) <= tolerance, $"{what}[{i}]: expected {expected[i]:r}, found {actual[i]:r}");
    }
}
