using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Kernels.Tests;

public unsafe class SamplerStepTests
{
    /// <summary>Which parts of the step a case uses.</summary>
    [Flags]
    public enum Parts
    {
        None = 0,
        Guided = 1,
        Clip = 2,
        Rederive = 4,
        Threshold = 8,
        History = 16,
        Noise = 32,
        Variance = 64,
        Outputs = 128,
        InPlace = 256,
        Perturbed = 512,
        Rescale = 1024,
        Projected = 2048,
        Momentum = 4096,
    }

    public static TheoryData<int, int, Parts> Cases => new()
    {
        { 1, 1, Parts.None },
        { 2, 97, Parts.Guided | Parts.Outputs },
        { 3, 4096, Parts.History | Parts.Noise },
        { 2, 4097, Parts.Clip | Parts.Outputs },
        { 2, 111, Parts.Clip | Parts.Rederive | Parts.Guided },
        { 3, 10_001, Parts.Threshold | Parts.Rederive | Parts.Outputs },
        { 2, 4 * 1111, Parts.Variance | Parts.Noise },
        { 2, 3 * 1400, Parts.Variance | Parts.Noise | Parts.Guided | Parts.Clip | Parts.Rederive },
        { 2, 1 * 37, Parts.Variance | Parts.Noise },
        { 2, 4097, Parts.Guided | Parts.Perturbed },
        { 2, 97, Parts.Perturbed | Parts.Outputs },
        { 3, 4096 + 5, Parts.Guided | Parts.Rescale | Parts.Perturbed | Parts.Outputs },
        { 2, 111, Parts.Guided | Parts.Projected | Parts.Outputs },
        { 2, 4 * 1111, Parts.Guided | Parts.Projected | Parts.Momentum | Parts.Outputs | Parts.Variance | Parts.Noise },
        { 3, 5003, Parts.Guided | Parts.Projected | Parts.Momentum | Parts.Clip | Parts.Rederive | Parts.InPlace },
        { 3, 5000, Parts.Guided | Parts.Threshold | Parts.History | Parts.Noise | Parts.Outputs | Parts.InPlace },
    };

    [Theory]
    [MemberData(nameof(Cases))]
    public void One_pass_gives_what_the_formula_gives_in_double(int images, int elements, Parts parts)
    {
        using var f = new Fixture(images, elements, parts, seed: 17);
        Paths.AllAgree(f.Next, pool =>
        {
            if (parts.HasFlag(Parts.InPlace)) f.Sample.Span.CopyTo(f.Next.Span);
            f.Before0.Span.CopyTo(f.Running.Span);
            SamplerStep.Run(pool, f.Arguments());
        });

        for (int i = 0; i < images * elements; i++)
        {
            var (x, denoised, epsilon, next) = f.Exact(i);
            Close(next, f.Next.P[i], "next", i);
            if (parts.HasFlag(Parts.Momentum)) Close(f.Difference(i), f.Running.P[i], "running", i);
            if (!parts.HasFlag(Parts.Outputs)) continue;
            Close(denoised, f.Denoised.P[i], "denoised", i);
            Close(epsilon, f.Epsilon.P[i], "eps", i);
            Assert.Equal((float)x, f.Before.P[i]);
        }
    }

    [Fact]
    public void An_image_does_not_see_its_batch()
    {
        const Parts parts = Parts.Guided | Parts.Threshold | Parts.Noise | Parts.Variance;
        using var f = new Fixture(3, 4 * 1025, parts, seed: 5);
        using var pool = new WorkerPool(2);
        SamplerStep.Run(pool, f.Arguments());
        var together = f.Next.Span.ToArray();
        for (int image = 0; image < 3; image++)
        {
            f.Next.Poison();
            SamplerStep.Run(pool, f.Arguments(image));
            Assert.True(f.Next.Span.Slice(image * f.Elements, f.Elements).SequenceEqual(together.AsSpan(image * f.Elements, f.Elements)), $"image {image}");
        }
    }

    [Fact]
    public void A_network_that_answers_the_clean_image_leads_there()
    {
        // prediction x0, x' = D*x0 with D = 1 and X = 0.
        using var f = new Fixture(1, 50, Parts.None, seed: 1);
        var a = f.Arguments();
        (a.A0, a.B0, a.X, a.D, a.E) = (0, 1, 0, 1, 0);
        using var pool = new WorkerPool(1);
        SamplerStep.Run(pool, a);
        Assert.True(f.Next.Span.SequenceEqual(f.Model.Span[..50]));
    }

    [Theory]
    [InlineData(1, 97, false)]
    [InlineData(3, 4096 + 17, false)]
    [InlineData(2, 9001, true)]
    public void Factors_of_guidance_are_those_of_the_formulas(int images, int elements, bool projects)
    {
        var random = new Random(3);
        int n = images * elements;
        using FloatBuffer x = FloatBuffer.Normal(random, n), c = FloatBuffer.Normal(random, n), u = FloatBuffer.Normal(random, n), p = FloatBuffer.Normal(random, n), r = FloatBuffer.Normal(random, n);
        for (int i = 0; i < n; i++) c.P[i] += 30;                          // a mean that dwarfs the deviation
        var a = new GuidanceFactors.Arguments
        {
            Model = c.P, Unconditional = u.P, Perturbed = p.P, Sample = x.P, Running = r.P, Projects = projects, Images = images, Elements = elements, Guidance = 4, PerturbedScale = 1.5, A0 = 1.2, B0 = -0.7,
            Rescale = 0.7, Threshold = 20, Momentum = -0.5, Parallel = 0.3,
        };
        double[] scratch = new double[GuidanceFactors.Scratch(images, elements)], found = new double[2 * images], again = new double[2 * images];
        foreach (int threads in (int[])[1, 3])
        {
            using var pool = new WorkerPool(threads);
            fixed (double* s = scratch, f = threads == 1 ? found : again) GuidanceFactors.Run(pool, a, s, f);
        }

        Assert.Equal(found, again);
        for (int image = 0; image < images; image++)
        {
            var all = Enumerable.Range(image * elements, elements).ToArray();
            if (projects)
            {
                double[] d = [.. all.Select(i => -0.7 * ((double)c.P[i] - u.P[i]) - 0.5 * r.P[i])], e = [.. all.Select(i => 1.2 * x.P[i] - 0.7 * c.P[i])];
                double shrink = Math.Min(1, 20 / Math.Sqrt(d.Sum(v => v * v))), along = d.Zip(e, (p, q) => p * q).Sum() / e.Sum(v => v * v);
                Assert.Equal(1 + 3 * shrink * (0.3 - 1) * along, found[2 * image], 1e-10);
                Assert.Equal(3 * shrink, found[2 * image + 1], 1e-10);
            }
            else
            {
                double[] m = [.. all.Select(i => u.P[i] + 4 * ((double)c.P[i] - u.P[i]) + 1.5 * ((double)c.P[i] - p.P[i]))];
                Assert.Equal(0.7 * Deviation([.. all.Select(i => (double)c.P[i])]) / Deviation(m) + 0.3, found[2 * image], 1e-9);
            }
        }

        static double Deviation(double[] v)
        {
            double mean = v.Average();
            return Math.Sqrt(v.Sum(a => (a - mean) * (a - mean)));
        }
    }

    private static void Close(double exact, float found, string what, int at)
    {
        // A dozen roundings of numbers of this size; guidance of 7.5 magnifies the model's share.
        double room = 3e-6 * Math.Max(4, Math.Abs(exact));
        Assert.True(Math.Abs(found - exact) <= room, $"{what} {at}: {found:G9} for {exact:G9}");
    }

    private sealed class Fixture : IDisposable
    {
        private const float Guidance = 7.5f, A0 = 1.25f, B0 = -0.75f, A1 = 0.3f, B1 = 0.9f, P = 1.6f, Q = -1.2f, X = 0.8f, D = 0.5f, E = -0.25f, N = 0.6f;
        private const float MinLog = -6, MaxLog = -1.5f, Clip = 1;
        private readonly int images;
        private readonly Parts parts;
        private readonly int channels;
        private const float Away = 1.5f, Momentum = -0.6f;
        private readonly FloatBuffer unconditional, h1, h2, h3, noise, threshold, perturbed, factors;

        public Fixture(int images, int elements, Parts parts, int seed)
        {
            (this.images, Elements, this.parts) = (images, elements, parts);
            var random = new Random(seed);
            int n = images * elements;
            channels = !parts.HasFlag(Parts.Variance) ? 0 : elements % 4 == 0 ? 4 : elements % 3 == 0 ? 3 : 1;
            int outputs = channels > 0 ? 2 * n : n;
            Sample = FloatBuffer.Normal(random, n);
            Model = FloatBuffer.Normal(random, outputs);
            unconditional = FloatBuffer.Normal(random, outputs);
            h1 = FloatBuffer.Normal(random, n);
            h2 = FloatBuffer.Normal(random, n);
            h3 = FloatBuffer.Normal(random, n);
            noise = FloatBuffer.Normal(random, n);
            threshold = new FloatBuffer(images);
            for (int i = 0; i < images; i++) threshold.P[i] = 1.1f + 0.3f * i;
            perturbed = FloatBuffer.Normal(random, outputs);
            factors = FloatBuffer.Normal(random, 2 * images);
            Before0 = FloatBuffer.Normal(random, n);
            Running = new FloatBuffer(n);
            Next = new FloatBuffer(n);
            Denoised = new FloatBuffer(n);
            Epsilon = new FloatBuffer(n);
            Before = new FloatBuffer(n);
        }

        public int Elements { get; }

        public FloatBuffer Sample { get; }

        public FloatBuffer Model { get; }

        public FloatBuffer Next { get; }

        public FloatBuffer Denoised { get; }

        public FloatBuffer Epsilon { get; }

        public FloatBuffer Before { get; }

        /// <summary>The running difference after a step, and what it is before.</summary>
        public FloatBuffer Running { get; }

        public FloatBuffer Before0 { get; }

        /// <summary>The whole batch, or one image of it.</summary>
        public SamplerStep.Arguments Arguments(int image = -1)
        {
            long at = Math.Max(0, image) * (long)Elements, model = channels > 0 ? 2 * at : at;
            return new SamplerStep.Arguments
            {
                Sample = (parts.HasFlag(Parts.InPlace) ? Next.P : Sample.P) + at, Model = Model.P + model, Next = Next.P + at, Images = image < 0 ? images : 1, Elements = Elements,
                Unconditional = parts.HasFlag(Parts.Guided) ? unconditional.P + model : null, Guidance = Guidance,
                A0 = A0, B0 = B0, A1 = A1, B1 = B1, P = P, Q = Q, X = X, D = D, E = E, H1 = 0.4f, H2 = -0.3f, H3 = 0.2f, N = N,
                Clip = parts.HasFlag(Parts.Clip) ? Clip : float.PositiveInfinity, Rederive = parts.HasFlag(Parts.Rederive),
                Threshold = parts.HasFlag(Parts.Threshold) ? threshold.P + Math.Max(0, image) : null,
                History1 = parts.HasFlag(Parts.History) ? h1.P + at : null, History2 = parts.HasFlag(Parts.History) ? h2.P + at : null, History3 = parts.HasFlag(Parts.History) ? h3.P + at : null,
                Noise = parts.HasFlag(Parts.Noise) ? noise.P + at : null,
                DenoisedOut = parts.HasFlag(Parts.Outputs) ? Denoised.P + at : null, EpsilonOut = parts.HasFlag(Parts.Outputs) ? Epsilon.P + at : null,
                SampleOut = parts.HasFlag(Parts.Outputs) ? Before.P + at : null,
                Perturbed = parts.HasFlag(Parts.Perturbed) ? perturbed.P + model : null, PerturbedScale = Away, Projects = parts.HasFlag(Parts.Projected),
                Factors = parts.HasFlag(Parts.Projected) || parts.HasFlag(Parts.Rescale) ? factors.P + 2 * Math.Max(0, image) : null,
                Running = parts.HasFlag(Parts.Momentum) ? Running.P + at : null, KeepsRunning = parts.HasFlag(Parts.Momentum), Momentum = Momentum,
                VarianceChannels = channels, VarianceMinLog = MinLog, VarianceMaxLog = MaxLog,
            };
        }

        public double Difference(int i)
        {
            int at = channels > 0 ? i / channels * 2 * channels + i % channels : i;
            return (double)B0 * ((double)Model.P[at] - unconditional.P[at]) + (parts.HasFlag(Parts.Momentum) ? (double)Momentum * Before0.P[i] : 0);
        }

        public (double X, double Denoised, double Epsilon, double Next) Exact(int i)
        {
            int image = i / Elements, at = channels > 0 ? i / channels * 2 * channels + i % channels : i;
            double x = Sample.P[i], m = Model.P[at];
            if (parts.HasFlag(Parts.Guided)) m = unconditional.P[at] + Guidance * (m - unconditional.P[at]);
            if (parts.HasFlag(Parts.Perturbed)) m += Away * ((double)Model.P[at] - perturbed.P[at]);
            if (parts.HasFlag(Parts.Rescale)) m *= factors.P[2 * image];
            double x0 = (double)A0 * x + (double)B0 * m, eps = (double)A1 * x + (double)B1 * m, s = threshold.P[image];
            if (parts.HasFlag(Parts.Projected))
            {
                x0 = factors.P[2 * image] * ((double)A0 * x + (double)B0 * Model.P[at]) + factors.P[2 * image + 1] * Difference(i);
                eps = (double)P * x + (double)Q * x0;
            }

            if (parts.HasFlag(Parts.Threshold)) x0 = Math.Clamp(x0, -s, s) / s;
            else if (parts.HasFlag(Parts.Clip)) x0 = Math.Clamp(x0, -Clip, Clip);
            if (parts.HasFlag(Parts.Rederive)) eps = (double)P * x + (double)Q * x0;
            double next = (double)X * x + (double)D * x0 + (double)E * eps;
            if (parts.HasFlag(Parts.History)) next += 0.4f * (double)h1.P[i] - 0.3f * (double)h2.P[i] + 0.2f * (double)h3.P[i];
            double deviation = channels > 0 ? Math.Exp(0.5 * ((Model.P[at + channels] + 1.0) / 2 * (MaxLog - MinLog) + MinLog)) : 1;
            if (parts.HasFlag(Parts.Noise)) next += N * deviation * noise.P[i];
            return (x, x0, eps, next);
        }

        public void Dispose()
        {
            foreach (var b in new[] { Sample, Model, unconditional, h1, h2, h3, noise, threshold, perturbed, factors, Before0, Running, Next, Denoised, Epsilon, Before }) b.Dispose();
        }
    }
}
