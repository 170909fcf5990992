using System.Runtime.InteropServices;
using DiffusionCore.Guidance;
using DiffusionCore.Runtime;
using DiffusionCore.Runtime.Passes;
using DiffusionCore.Samplers;
using DiffusionCore.Samplers.KDiffusion;
using DiffusionCore.Tests.Samplers;

namespace DiffusionCore.Tests.Guidance;

/// <summary>Every form of guidance in the fused step, with latents in F32 and in F64, agrees with the run in double on the host.</summary>
public sealed class GuidedStepTests
{
    private const int Images = 2, Elements = 105, Count = Images * Elements;

    private static readonly PerturbedGuidance Pag = new(Perturbation.Attention, 2.5, []);

    public static TheoryData<string, string, bool> Runs
    {
        get
        {
            var data = new TheoryData<string, string, bool>();
            foreach (string form in (string[])["plain", "rescale", "apg", "apg threshold", "apg momentum", "pag", "pag alone", "pag rescale interval", "threshold", "threshold apg momentum", "threshold rescale", "course", "cosine"])
                foreach (bool wide in (bool[])[false, true]) data.Add("dpmpp_2m", form, wide);
            foreach (string name in KSampler.Names.Where(n => n != "rk45"))
                foreach (bool wide in (bool[])[false, true]) data.Add(name, name.EndsWith("_cfg_pp", StringComparison.Ordinal) ? "plain" : name == "dpm_adaptive" ? "rescale single" : "pag rescale", wide);
            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Runs))]
    public void Device_and_double_agree(string sampler, string form, bool wide)
    {
        int images = form.EndsWith("single", StringComparison.Ordinal) ? 1 : Images;
        var plan = Plan(sampler, form);
        bool guided = form != "pag alone", third = plan.Form?.Perturbed is not null;
        var random = new Random(5);
        double[] start = [.. Enumerable.Range(0, images * Elements).Select(_ => (double)(float)((random.NextDouble() - 0.5) * 34))];
        var draws = new List<double[]>();
        double[] expected = HostSampler.Run(
            plan, start, Branch(0.6), z =>
            {
                for (int i = 0; i < z.Length; i++) z[i] = (float)(2 * random.NextDouble() - 1);
                draws.Add((double[])z.Clone());
            },
            images, unconditional: guided ? Branch(0.4) : null, guidance: 2.5, perturbed: third ? Branch(0.5) : null);

        using var device = new CpuDevice(2);
        using var run = new DeviceRun(device, plan, images, Elements, guided, wide, [.. (guided ? (double[])[0.4] : []), 0.6, .. (third ? (double[])[0.5] : [])]);
        run.Start(start);
        var steps = plan.Start();
        int draw = 0;
        double measured = double.NaN;
        while (steps.Next(measured) is { } e)
        {
            if (e.DrawsNoise) run.Noise(draws[draw++]);
            measured = run.Apply(e, 2.5);
        }

        // The network's output is F32 in both; with F64 latents only its input and its output round, and neither is carried on.
        double largest = Math.Max(1, expected.Max(Math.Abs)), tolerance = wide ? 2e-6 : plan.Adaptive is null ? 4e-5 : 2e-3;
        double[] found = run.Latents();
        for (int i = 0; i < found.Length; i++) Assert.True(Math.Abs(found[i] - expected[i]) <= tolerance * largest, $"element {i}: device {found[i]}, double {expected[i]}");
    }

    /// <summary>With F32 numbers as predictions, one update with F64 latents is exact to the rounding of double.</summary>
    [Theory]
    [InlineData("plain")]
    [InlineData("rescale")]
    [InlineData("apg momentum")]
    [InlineData("pag rescale")]
    [InlineData("threshold apg momentum")]
    public void An_update_in_F64_rounds_as_double_does(string form)
    {
        var plan = Plan("euler", form);
        var random = new Random(9);
        double[] start = Draw(), c = Draw(), u = Draw(), p = Draw();
        bool third = plan.Form?.Perturbed is not null;
        var single = plan with { Evaluations = [plan.Evaluations[0]] };
        double[] expected = HostSampler.Run(single, start, (_, _) => c, images: Images, unconditional: (_, _) => u, guidance: 3, perturbed: third ? (_, _) => p : null);
        using var device = new CpuDevice(2);
        using var run = new DeviceRun(device, single, Images, Elements, true, true, third ? [0, 0, 0] : [0, 0]);
        run.Start(start);
        run.Put([.. u, .. c, .. third ? p : []]);
        run.Step(single.Evaluations[0], 3);
        double[] found = run.Latents();
        for (int i = 0; i < Count; i++) Assert.True(Math.Abs(found[i] - expected[i]) <= 1e-13 * Math.Max(1, Math.Abs(expected[i])), $"element {i}: device {found[i]:R}, double {expected[i]:R}");

        double[] Draw() => [.. Enumerable.Range(0, Count).Select(_ => (double)(float)((random.NextDouble() - 0.5) * 6))];
    }

    [Theory]
    [InlineData("pag rescale", false)]
    [InlineData("threshold apg momentum", false)]
    [InlineData("threshold apg momentum", true)]
    [InlineData("pag rescale", true)]
    public void A_step_allocates_nothing(string form, bool wide)
    {
        var plan = Plan("dpmpp_2m", form);
        using var device = new CpuDevice(1);
        using var run = new DeviceRun(device, plan, Images, Elements, true, wide, [0.4, 0.6, .. plan.Form?.Perturbed is null ? (double[])[] : [0.5]]);
        run.Start(new double[Count]);
        run.Step(plan.Evaluations[1], 2.5);
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 20; i++) run.Step(plan.Evaluations[2], 2.5);
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    [Fact]
    public void A_scale_of_one_neither_projects_nor_remembers()
    {
        var plan = new GuidanceOptions { Scales = [1, 4, 4], Projected = new ProjectedGuidance(Momentum: -0.5) }.Apply(KSampler.Plan("euler", GaussianWorld.Levels([8, 4, 2, 1])));
        var other = new GuidanceOptions { Scales = [4, 4], Projected = new ProjectedGuidance(Momentum: -0.5) }.Apply(KSampler.Plan("euler", GaussianWorld.Levels([4, 2, 1])));
        double[] first = HostSampler.Run(plan with { Evaluations = [plan.Evaluations[0]] }, [5, -3], Branch(0.6), unconditional: Branch(0.4));
        double[] whole = HostSampler.Run(plan, [5, -3], Branch(0.6), unconditional: Branch(0.4)), rest = HostSampler.Run(other, first, Branch(0.6), unconditional: Branch(0.4));
        for (int i = 0; i < 2; i++) Assert.Equal(rest[i], whole[i], 1e-12);
    }

    [Fact]
    public void Courses_go_from_the_first_step_to_the_last()
    {
        Assert.Equal([8, 6, 4, 2], Enumerable.Range(0, 4).Select(i => new GuidanceCourse(8, 2, false).At(i, 4)));
        var cosine = new GuidanceCourse(8, 2, true);
        Assert.Equal([8, 5, 2], Enumerable.Range(0, 3).Select(i => Math.Round(cosine.At(i, 3), 12)));
        Assert.True(cosine.At(1, 5) > new GuidanceCourse(8, 2, false).At(1, 5));
        Assert.Equal(8, cosine.At(0, 1));
    }

    [Theory]
    [InlineData("puts both branches together itself", "euler_cfg_pp", "rescale")]
    [InlineData("puts both branches together itself", "dpmpp_2m_cfg_pp", "threshold")]
    [InlineData("takes steps back", "dpm_adaptive", "apg momentum")]
    [InlineData("need a fixed schedule", "rk45", "pag rescale interval")]
    [InlineData("need a fixed schedule", "rk45", "course")]
    public void What_a_sampler_cannot_do_is_refused(string problem, string sampler, string form) =>
        Assert.Contains(problem, Assert.Throws<UsageException>(() => Plan(sampler, form)).Message, StringComparison.Ordinal);

    [Fact]
    public void Forms_that_exclude_each_other_are_refused()
    {
        Assert.Contains("apg", Assert.Throws<UsageException>(new GuidanceOptions { Rescale = 0.5, Projected = new ProjectedGuidance() }.Check).Message, StringComparison.Ordinal);
        Assert.Contains("pag: projected", Assert.Throws<UsageException>(new GuidanceOptions { Perturbed = Pag, Projected = new ProjectedGuidance() }.Check).Message, StringComparison.Ordinal);
        Assert.Contains("pag interval: expected 0 <= low <= high, found 5 to 1", Assert.Throws<UsageException>(new GuidanceOptions { Perturbed = Pag with { Interval = (5, 1) } }.Check).Message, StringComparison.Ordinal);
        Assert.Contains("threshold: expected a share above 0", Assert.Throws<UsageException>(new GuidanceOptions { Threshold = (0, 2) }.Check).Message, StringComparison.Ordinal);
    }

    private static SamplerPlan Plan(string sampler, string form)
    {
        bool Has(string word) => form.Split(' ').Contains(word);
        var options = new GuidanceOptions
        {
            Scale = 2.5, Rescale = Has("rescale") ? 0.7 : 0, Interval = Has("interval") ? (0.5, 6) : null, Threshold = Has("threshold") ? (0.8, 3.5) : null,
            Projected = Has("apg") ? new ProjectedGuidance(form == "apg threshold" ? 2 : 0, Has("momentum") ? -0.6 : 0, 0.2) : null,
            Perturbed = Has("pag") ? Pag with { Interval = Has("interval") ? (1, 20) : null } : null,
            Course = Has("course") || Has("cosine") ? new GuidanceCourse(4, 1.5, Has("cosine")) : null,
        };
        return options.Apply(KSampler.Plan(sampler, GaussianWorld.Levels([.. SigmaSchedule.Karras(0.05, 10, 8), 0]), new KOptions { R = sampler == "dpmpp_sde" ? 0.4 : 0.5 }));
    }

    private static Func<double[], double, double[]> Branch(double factor) => (x, sigma) => Array.ConvertAll(x, v => factor * Math.Tanh(v / Math.Sqrt(1 + sigma * sigma)) + 0.1 * (factor - 0.5) * Math.Sin(7 * v));

    /// <summary>Latents on a device, with a made-up network of two or three branches.</summary>
    private sealed class DeviceRun : IDisposable
    {
        private readonly CpuDevice device;
        private readonly bool wide;
        private readonly int count;
        private readonly double[] factors;
        private readonly DeviceBuffer x, model, noise, work, running;
        private readonly DeviceBuffer? single;
        private readonly DeviceBuffer[] slots;
        private readonly DeviceStep applied;
        private SamplerStepArguments step;

        public DeviceRun(CpuDevice device, SamplerPlan plan, int images, int elements, bool guided, bool wide, double[] factors)
        {
            (this.device, this.wide, this.factors) = (device, wide, factors);
            count = images * elements;
            long bytes = count * (wide ? sizeof(double) : sizeof(float));
            (x, noise, work, running) = (device.Allocate(bytes), device.Allocate(bytes), device.Allocate(bytes), device.Allocate(bytes + 3 * images * sizeof(float)));
            model = device.Allocate(factors.Length * count * sizeof(float));
            single = wide ? device.Allocate(count * sizeof(float)) : null;
            slots = [.. Enumerable.Range(0, plan.Slots).Select(_ => device.Allocate(bytes))];
            // Memory that was never written must not matter.
            foreach (var buffer in (DeviceBuffer[])[noise, work, .. slots]) Fill(buffer, Enumerable.Repeat(double.NaN, count).ToArray());
            device.Upload(MemoryMarshal.AsBytes(Enumerable.Repeat(float.NaN, factors.Length * count).ToArray().AsSpan()), model);
            applied = new DeviceStep(device, plan, x, model, noise, plan.ThresholdRatio > 0 ? work : null, slots) { Running = plan.Form?.Projected is { Momentum: not 0 } ? running : null, Single = single };
            step = new SamplerStepArguments
            {
                Images = images, Elements = elements, Guided = guided, Perturbed = plan.Form?.Perturbed is not null, Clip = plan.Clip, ClipRederivesEpsilon = plan.ClipRederivesEpsilon,
                ThresholdRatio = plan.ThresholdRatio, ThresholdMaximum = plan.ThresholdMaximum,
            };
        }

        public void Start(double[] values)
        {
            Fill(x, values);
            if (single is not null) device.Upload(MemoryMarshal.AsBytes(Array.ConvertAll(values, v => (float)v).AsSpan()), single);
        }

        public void Noise(double[] values) => Fill(noise, values);

        public void Put(double[] predictions) => device.Upload(MemoryMarshal.AsBytes(Array.ConvertAll(predictions, v => (float)v).AsSpan()), model);

        public double Apply(Evaluation e, double guidance)
        {
            if (e.Evaluates)
            {
                double[] input = Array.ConvertAll(Latents(), v => e.InputScale * (wide ? (float)v : v));
                Put([.. factors.SelectMany(f => Branch(f)(input, e.Time))]);
            }

            Step(e, guidance);
            return applied.Measure(e);
        }

        public void Step(Evaluation e, double guidance) => applied.Apply(e, ref step, guidance);

        public double[] Latents()
        {
            if (!wide)
            {
                var narrow = new float[count];
                device.Download(x, MemoryMarshal.AsBytes(narrow.AsSpan()));
                return Array.ConvertAll(narrow, v => (double)v);
            }

            var values = new double[count];
            device.Download(x, MemoryMarshal.AsBytes(values.AsSpan()));
            var copy = new float[count];
            device.Download(single!, MemoryMarshal.AsBytes(copy.AsSpan()));
            for (int i = 0; i < count; i++) Assert.Equal((float)values[i], copy[i]);
            return values;
        }

        public void Dispose()
        {
            foreach (var buffer in (DeviceBuffer?[])[x, model, noise, work, running, single, .. slots]) buffer?.Dispose();
        }

        private void Fill(DeviceBuffer buffer, double[] values)
        {
            if (wide) device.Upload(MemoryMarshal.AsBytes(values.AsSpan()), buffer);
            else device.Upload(MemoryMarshal.AsBytes(Array.ConvertAll(values, v => (float)v).AsSpan()), buffer);
        }
    }
}
