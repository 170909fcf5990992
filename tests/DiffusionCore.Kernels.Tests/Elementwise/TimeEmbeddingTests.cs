using System.Text.Json;
using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Kernels.Tests;

public unsafe class TimeEmbeddingTests
{
    [Theory]
    [InlineData(16, false, 1, 1)]
    [InlineData(17, true, 0, 1)]
    [InlineData(320, true, 0, 1)]
    [InlineData(5, false, 0, 1000)]
    public void Sinusoids_follow_the_formula_to_rounding_and_in_float_arithmetic_nearly(int dim, bool flip, double shift, double scale)
    {
        float[] times = [0, 1, 17, 500, 999, 0.25f];
        using var y = new FloatBuffer(times.Length * dim);
        fixed (float* t = times) TimeEmbedding.SinusoidalFloat32(t, y.P, times.Length, dim, flip, shift, scale, 10000);
        using var direct = new FloatBuffer(times.Length * dim);
        fixed (float* t = times) TimeEmbedding.Sinusoidal(t, direct.P, times.Length, dim, flip, shift, scale, 10000);
        int half = dim / 2;
        for (int r = 0; r < times.Length; r++)
        {
            for (int c = 0; c < dim; c++)
            {
                if (c == 2 * half)
                {
                    Assert.Equal(0f, y.P[r * dim + c]);
                    Assert.Equal(0f, direct.P[r * dim + c]);
                    continue;
                }

                // The chain moves the angle by its rounding errors: three roundings of up to 10 in the exponent, then two of the angle.
                double angle = scale * times[r] * Math.Exp(-Math.Log(10000) * (c % half) / (half - shift));
                double exact = c < half != flip ? Math.Sin(angle) : Math.Cos(angle);
                Assert.InRange(direct.P[r * dim + c], exact - 6.5e-8, exact + 6.5e-8);
                double room = 1e-7 + angle * Math.ScaleB(1, -24) * (3 * 9.3 + 3);
                Assert.True(Math.Abs(y.P[r * dim + c] - exact) <= room, $"t {times[r]}, column {c}: {y.P[r * dim + c]:G9} for {exact:G9}");
            }
        }
    }

    [Theory]
    [InlineData(false, false)]
    [InlineData(true, true)]
    public void Fourier_features_match_double(bool log, bool flip)
    {
        float[] times = [0.002f, 0.5f, 1, 80];
        const int half = 19;
        using var w = FloatBuffer.Normal(new Random(3), half, 0, 16);
        using var y = new FloatBuffer(times.Length * 2 * half);
        fixed (float* t = times) TimeEmbedding.Fourier(t, w.P, y.P, times.Length, half, log, flip);
        for (int r = 0; r < times.Length; r++)
        {
            for (int c = 0; c < 2 * half; c++)
            {
                double angle = 2 * Math.PI * (log ? Math.Log(times[r]) : times[r]) * w.P[c % half];
                double exact = c < half != flip ? Math.Sin(angle) : Math.Cos(angle);
                Assert.InRange(y.P[r * 2 * half + c], exact - 1e-7, exact + 1e-7);
            }
        }
    }

    [ConformanceFact("timestep_embedding.json")]
    public void Sinusoids_match_the_stored_embeddings()
    {
        using var document = JsonDocument.Parse(File.ReadAllText(Path.Combine(Conformance.Folder!, "timestep_embedding.json")));
        int compared = 0;
        foreach (var item in document.RootElement.GetProperty("cases").EnumerateArray())
        {
            var args = item.GetProperty("args");
            int dim = item.GetProperty("dim").GetInt32();
            double shift = Number(args, "downscale_freq_shift", 1), scale = Number(args, "scale", 1), period = Number(args, "max_period", 10000);
            bool flip = args.TryGetProperty("flip_sin_to_cos", out var f) && f.GetBoolean();
            bool upstream = item.GetProperty("kind").GetString() == "upstream";
            float[] times = upstream ? [23, 24, 25] : item.GetProperty("timesteps").EnumerateArray().Select(v => v.GetSingle()).ToArray();
            int[] columns = upstream ? [47, 48, 49] : item.GetProperty("columns").EnumerateArray().Select(v => v.GetInt32()).ToArray();
            double[][] rows = upstream
                ? item.GetProperty("expected").EnumerateArray().Select(v => v.GetDouble()).Chunk(3).ToArray()
                : item.GetProperty("values").EnumerateArray().Select(r => r.EnumerateArray().Select(v => v.GetDouble()).ToArray()).ToArray();
            using var y = new FloatBuffer(times.Length * dim);
            fixed (float* t = times) TimeEmbedding.SinusoidalFloat32(t, y.P, times.Length, dim, flip, shift, scale, period);
            int half = dim / 2;
            for (int r = 0; r < times.Length; r++)
            {
                for (int c = 0; c < columns.Length; c++, compared++)
                {
                    // The file's exponentials are within an ulp of ours, which turns an angle by its own ulp.
                    double angle = scale * times[r] * Math.Exp(-Math.Log(period) * (columns[c] % half) / (half - shift));
                    double room = upstream ? 1e-3 : 1e-7 + angle * 1.2e-7;
                    double error = Math.Abs(y.P[r * dim + columns[c]] - rows[r][c]);
                    Assert.True(error <= room, $"dim {dim} {args} t {times[r]} column {columns[c]}: off by {error:G3}");
                }
            }
        }

        Assert.True(compared > 800, $"{compared} numbers compared");

        static double Number(JsonElement args, string name, double otherwise) => args.TryGetProperty(name, out var v) ? v.GetDouble() : otherwise;
    }
}
