using DiffusionCore.Noise;
using DiffusionCore.Runtime;

namespace DiffusionCore.Tests.Noise;

public class LatentNoiseTests
{
    private const int H = 3, W = 5, C = 4, Elements = H * W * C;

    [Theory]
    [InlineData("torch-cpu", "f32", NoiseKind.TorchCpu, DType.F32)]
    [InlineData("torch-cpu", "f64", NoiseKind.TorchCpu, DType.F64)]
    [InlineData("torch-cpu", "f16", NoiseKind.TorchCpu, DType.F16)]
    [InlineData("TORCH-CPU", "BF16", NoiseKind.TorchCpu, DType.BF16)]
    [InlineData("torch-cuda:108,2048", "f32", NoiseKind.TorchCuda, DType.F32)]
    [InlineData("torch-cuda:128,1536", "f16", NoiseKind.TorchCuda, DType.F16)]
    [InlineData("nv", "f32", NoiseKind.Nv, DType.F32)]
    public void Every_source_has_a_name_and_reads_back(string source, string type, NoiseKind kind, DType drawn)
    {
        var s = NoiseSettings.Parse(source, type, "per-image");
        Assert.Equal(kind, s.Kind);
        Assert.Equal(drawn, s.Type);
        Assert.Equal(s, NoiseSettings.Parse(s.Name, type, "per-image"));
    }

    [Theory]
    [InlineData("torch", "f32", "per-image", "use torch-cpu")]
    [InlineData("torch-cuda", "f32", "per-image", "MULTIPROCESSORS,THREADS")]
    [InlineData("torch-cuda:0,2048", "f32", "per-image", "MULTIPROCESSORS,THREADS")]
    [InlineData("torch-cuda:108,99999", "f32", "per-image", "MULTIPROCESSORS,THREADS")]
    [InlineData("torch-cuda:108", "f32", "per-image", "MULTIPROCESSORS,THREADS")]
    [InlineData("nv", "f64", "per-image", "belongs to torch-cpu")]
    [InlineData("torch-cpu", "i8", "per-image", "use f32, f64, f16 or bf16")]
    [InlineData("torch-cpu", "f32", "both", "use per-image or batch")]
    public void What_is_no_source_is_refused(string source, string type, string seeds, string says) =>
        Assert.Contains(says, Assert.Throws<UsageException>(() => NoiseSettings.Parse(source, type, seeds)).Message, StringComparison.Ordinal);

    [Fact]
    public void A_double_draw_is_the_double_stream_rounded()
    {
        var wide = new double[20];
        new TorchCpuGenerator(0).Normal(wide);
        var narrow = new float[20];
        NoiseSettings.Parse("torch-cpu", "f64", "per-image").Create(0).Normal(narrow);
        Assert.Equal(wide.Select(v => (float)v), narrow);
        Assert.Equal(-2.310412, narrow[0], 5);
    }

    [Theory]
    [InlineData("f16", -0.901367f)]
    [InlineData("bf16", 1.460938f)]
    public void Half_types_have_streams_of_their_own(string type, float first)
    {
        var v = new float[16];
        NoiseSettings.Parse("torch-cpu", type, "per-image").Create(0).Normal(v);
        Assert.Equal(first, v[0], 5);
    }

    [Theory]
    [InlineData("torch-cuda:108,2048", -0.924662f)]
    [InlineData("nv", -0.924662f)]
    public void Cuda_sources_start_as_published(string source, float first)
    {
        var v = new float[4];
        NoiseSettings.Parse(source, "f32", "per-image").Create(0).Normal(v);
        Assert.Equal(first, v[0], 5);
        NoiseSettings.Parse(source, "f16", "per-image").Create(0).Normal(v);
        Assert.Equal((float)(Half)first, v[0], 5);
    }

    [Fact]
    public void An_image_of_its_own_seed_does_not_depend_on_its_batch()
    {
        var settings = new NoiseSettings();
        var together = Draws(settings, 3, 0, [7, 8, 9], 3);
        var alone = Draws(settings, 1, 2, [9], 3);
        for (int d = 0; d < 2; d++) Assert.Equal(together[d][(2 * Elements)..], alone[d]);
    }

    [Fact]
    public void One_draw_for_all_images_does_not_depend_on_how_they_are_split()
    {
        var settings = new NoiseSettings { Seeds = SeedMode.Batch };
        var together = Draws(settings, 3, 0, [7, 8, 9], 3);
        var first = Draws(settings, 2, 0, [7, 8], 3);
        var last = Draws(settings, 1, 2, [9], 3);
        for (int d = 0; d < 2; d++)
        {
            Assert.Equal(together[d][..(2 * Elements)], first[d]);
            Assert.Equal(together[d][(2 * Elements)..], last[d]);
        }

        // The whole draw is one tensor [3, C, H, W] of the first seed.
        var whole = new float[3 * Elements];
        new TorchCpuGenerator(7).Normal(whole);
        for (int i = 0; i < 3; i++)
            for (int c = 0; c < C; c++)
                for (int p = 0; p < H * W; p++) Assert.Equal(whole[i * Elements + c * H * W + p], together[0][i * Elements + p * C + c]);
    }

    [Fact]
    public void A_variation_goes_from_one_noise_to_the_other()
    {
        var settings = new NoiseSettings();
        float[] own = Draws(settings, 1, 0, [7], 1)[0], other = Draws(settings, 1, 0, [40], 1)[0];
        Assert.Equal(own, Varied(0), (a, b) => Math.Abs(a - b) < 1e-6);
        Assert.Equal(other, Varied(1), (a, b) => Math.Abs(a - b) < 1e-6);
        var half = Varied(0.5);

        // Along the arc both ends count the same, and the direction turns by half the angle: each column of a channel, over its rows.
        for (int c = 0; c < C; c++)
        {
            for (int x = 0; x < W; x++)
            {
                double Dot(float[] a, float[] b) => Enumerable.Range(0, H).Sum(y => (double)a[(y * W + x) * C + c] * b[(y * W + x) * C + c]);
                double angle = Math.Acos(Dot(own, other) / Math.Sqrt(Dot(own, own) * Dot(other, other))), weight = Math.Sin(angle / 2) / Math.Sin(angle);
                for (int y = 0; y < H; y++) Assert.Equal(weight * (own[(y * W + x) * C + c] + other[(y * W + x) * C + c]), half[(y * W + x) * C + c], 2e-6);
            }
        }

        float[] Varied(double strength)
        {
            var noise = new LatentNoise(settings, 1, 1, H, W, C);
            noise.Start([7], 0);
            var v = new float[Elements];
            noise.DrawVaried(v, new Variation(40, strength));
            return v;
        }
    }

    private static float[][] Draws(NoiseSettings settings, int images, int first, ulong[] seeds, int total)
    {
        var noise = new LatentNoise(settings, images, total, H, W, C);
        noise.Start(seeds, first);
        var draws = new[] { new float[images * Elements], new float[images * Elements] };
        foreach (var d in draws) noise.Draw(d);
        return draws;
    }
}
