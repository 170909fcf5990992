using System.Text.Json;
using DiffusionCore.Noise;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;

namespace DiffusionCore.Tests.Samplers;

/// <summary>Every case of the peers' scheduler data whose class exists here: timesteps, noise levels and values of whole runs.</summary>
public sealed partial class SchedulerConformanceTests
{
    private const string Upstream = "schedulers.json", Generated = "schedulers_generated.json";

    // Times and levels are float32 at the peers.
    private const double GridTolerance = 1e-6;

    // Lists of the data are cut here.
    private const int LongList = 120;

    public static TheoryData<string> GeneratedNames => SchedulerCase.Names(Generated);

    public static TheoryData<string> UpstreamNames => SchedulerCase.Names(Upstream);

    public static TheoryData<string> BrownianNames
    {
        get
        {
            var names = new TheoryData<string>();
            if (ConformanceData.Folder is null) return names;
            foreach (var c in SchedulerCase.File(Upstream).GetProperty("cases").EnumerateArray().Where(c => c.GetProperty("scheduler").GetString() == SchedulerCase.Brownian)) names.Add(c.GetProperty("name").GetString()!);
            return names;
        }
    }

    [ConformanceTheory]
    [MemberData(nameof(BrownianNames), Skip = "needs the noise of the peer's Brownian tree")]
    public void Brownian_case_agrees(string name) => Upstream_case_agrees(name);

    [ConformanceFact]
    public void Every_class_of_the_data_is_here()
    {
        foreach (var c in new[] { Upstream, Generated }.SelectMany(f => SchedulerCase.File(f).GetProperty("cases").EnumerateArray())) Assert.Contains(c.GetProperty("scheduler").GetString(), SchedulerConfig.Classes);
    }

    [ConformanceFact]
    public void Configurations_that_have_no_finite_run_are_refused()
    {
        int refused = 0;
        foreach (var e in SchedulerCase.File(Generated).GetProperty("upstream_nonfinite").EnumerateArray().Where(e => SchedulerCase.Exists(e.GetProperty("scheduler").GetString()!)))
        {
            var config = SchedulerCase.ReadConfig(e.GetProperty("scheduler").GetString()!, e.GetProperty("overrides"));
            Assert.ThrowsAny<DiffusionCoreException>(() => Sampler.Plan(config, new SamplerOptions { Steps = e.GetProperty("set_timesteps").GetProperty("num_inference_steps").GetInt32() }));
            refused++;
        }

        Assert.Equal(28, refused);
    }

    [ConformanceTheory]
    [MemberData(nameof(GeneratedNames))]
    public void Generated_case_agrees(string name)
    {
        var c = SchedulerCase.Load(Generated, name);
        int start = c.Json.TryGetProperty("img2img_start", out var s) ? s.GetInt32() : 0;
        var plan = Sampler.Plan(c.Config, c.Options(start));
        AssertGrid(c.Doubles("timesteps")!, plan.Timesteps, "timesteps");
        if (c.Doubles("sigmas") is { Length: > 0 } sigmas) AssertGrid(sigmas, plan.Sigmas!, "sigmas");
        AssertGrid([c.Json.GetProperty("init_noise_sigma").GetDouble()], [plan.InitialSigma], "init_noise_sigma");
        AssertGrid(c.Doubles("loop_timesteps") ?? c.Doubles("timesteps")!, [.. plan.Evaluations.Select(e => e.Time)], "times of the evaluations");

        double[] x0 = Images(), x = x0;
        if (start > 0)
        {
            var first = plan.Evaluations[0];
            double[] z = Draw(0);
            x = [.. x0.Select((v, k) => first.Alpha * v + first.Sigma * z[k])];
        }
        else
        {
            x = [.. x0.Select(v => v * plan.InitialSigma)];
        }

        int draws = 0;
        var sums = new List<double>();
        double[] result = HostSampler.Run(
            plan, x, (input, t) => Array.ConvertAll(input, v => 0.6 * Math.Tanh(v + 0.001 * t)), z => Draw(draws++).CopyTo(z, 0), after: (_, state) => sums.Add(state.Sum(Math.Abs)));
        Assert.Equal(c.Json.GetProperty("noise_calls").GetInt32(), draws);
        Assert.True(c.Json.GetProperty("finite").GetBoolean());
        double tolerance = Math.Max(2e-5, 3 * c.Json.GetProperty("f32_vs_f64_max_rel").GetDouble()), largest = result.Max(Math.Abs);
        AssertValues(c.Doubles("final_first16")!, result, tolerance * largest, "first 16 values");
        // SA-Solver's weights of third order are differences of e^lambda*lambda^3 that come out to 2e-5 in the peer's float.
        AssertValues(c.Doubles("step_abs_sums")!, sums, [.. sums.Select(v => (c.Class == "SASolverScheduler" ? Math.Max(tolerance, 4e-5) : tolerance) * v)], "sums of absolute values after each step");
        AssertValues([c.Json.GetProperty("final_sum").GetDouble()], [result.Sum()], tolerance * result.Sum(Math.Abs), "sum");
    }

    [ConformanceTheory]
    [MemberData(nameof(UpstreamNames))]
    public void Upstream_case_agrees(string name)
    {
        var c = SchedulerCase.Load(Upstream, name);
        double[] times = [.. c.Json.GetProperty("step_timesteps").EnumerateArray().Where(t => t.ValueKind == JsonValueKind.Number).Select(t => t.GetDouble())];
        var whole = Sampler.Plan(c.Config, c.Options());
        // The upstream test of the score SDE sets the levels while the timesteps are still the training's, so its network is told the first of those.
        var told = c.Class == "ScoreSdeVeScheduler" ? Sampler.Plan(c.Config, c.Options() with { Steps = c.Config.TrainSteps }) : whole;
        if (c.Doubles("scheduler_timesteps") is { } timesteps) AssertGrid(timesteps, timesteps.Length == LongList ? whole.Timesteps[..LongList] : whole.Timesteps, "timesteps");
        if (c.Doubles("scheduler_sigmas") is { } sigmas) AssertGrid(sigmas, sigmas.Length == LongList ? told.Sigmas![..LongList] : told.Sigmas!, "sigmas");
        AssertGrid([c.Json.GetProperty("init_noise_sigma").GetDouble()], [whole.InitialSigma], "init_noise_sigma");
        int calls = c.Json.GetProperty("n_step_calls").GetInt32();
        var plan = c.Class == "IPNDMScheduler" ? Twice(whole) : Enumerable.Range(0, whole.Steps).Select(skip => Sampler.Plan(c.Config, c.Options(skip))).First(p => p.Evaluations.Count <= calls);
        Assert.Equal(calls, plan.Evaluations.Count);
        double[] loop = [.. plan.Evaluations.Select(e => e.Time)];
        if (c.Class == "ScoreSdeVeScheduler")
        {
            loop = plan.Timesteps;                                                          // the data has no time for its correctors
            plan = plan with { Evaluations = [.. plan.Evaluations.Select(e => e with { Time = told.Sigmas![e.Step] })] };
        }

        AssertGrid([.. times.Take(loop.Length)], [.. loop.Take(times.Length)], "times of the evaluations");

        int[] shape = [.. c.Json.GetProperty("sample_shape").EnumerateArray().Select(e => e.GetInt32())];
        const int Images = 4;
        int count = shape.Aggregate(1, (x, y) => x * y), each = count / Images;
        Assert.Equal(Images, shape[0]);
        // Value k of the data is at (n, c, h, w) with k = ((c*H + h)*W + w)*4 + n.
        double Order(int flat) => flat % each * Images + flat / each;
        double scale = c.Json.GetProperty("initial_sample").GetString() switch
        {
            "dummy_sample_deter" => 1,
            "dummy_sample_deter * init_noise_sigma" => plan.InitialSigma,
            var other => throw new NotSupportedException(other),
        };
        // Some cases say that they scale their sample and do not: the sum of the sample tells.
        bool scaled = c.Json.GetProperty("step_fed_scaled_sample").GetBoolean();
        double[] x = new[] { scale, scaled ? scale : 1 }.Select(Start).MinBy(v => Math.Abs(v.Sum(Math.Abs) - c.Json.GetProperty("initial_sample_abs_sum").GetDouble()))!;
        double[] Start(double by)
        {
            double[] v = [.. Enumerable.Range(0, count).Select(k => Order(k) / count * by)];
            if (c.Json.GetProperty("add_noise") is not { ValueKind: JsonValueKind.Object }) return v;
            var first = plan.Evaluations[0];
            return [.. v.Select((u, k) => first.Alpha * u + first.Sigma * (count - 1 - Order(k)) / count)];
        }

        // The upstream loop of this class gives its network the latent as it is.
        if (c.Class == "EDMDPMSolverMultistepScheduler") plan = plan with { Evaluations = [.. plan.Evaluations.Select(e => e with { InputScale = 1 })] };
        var generator = c.Json.GetProperty("uses_rng").GetBoolean() ? new TorchCpuGenerator((ulong)c.Json.GetProperty("seed").GetInt64()) : null;
        var floats = new float[count];
        double[] result = HostSampler.Run(
            scaled ? FedScaled(plan) : plan, x, (input, t) => Array.ConvertAll(input, v => v * t / (t + 1)),
            z =>
            {
                generator!.Normal(floats);
                for (int k = 0; k < count; k++) z[k] = floats[k];
            },
            Images);
        var reproduced = c.Json.GetProperty("reproduced");
        double sum = result.Sum(Math.Abs), largest = result.Max(Math.Abs);
        AssertValues(SchedulerCase.Doubles(reproduced.GetProperty("first16")), result, 2e-5 * largest, "first 16 values");
        // PNDM from alpha-bar 4e-7: the same run in float and in double differs by 2.4e-5 there.
        AssertValues(SchedulerCase.Doubles(reproduced.GetProperty("last4")), result[^4..], 5e-5 * largest, "last 4 values");
        AssertValues([reproduced.GetProperty("final_abs_sum_f64_accum").GetDouble()], [sum], 2e-5 * sum, "sum of absolute values");
        if (c.Json.GetProperty("expected_sum") is { ValueKind: JsonValueKind.Number } expected)
            AssertValues([expected.GetDouble()], [sum], SumTolerance(c.Json, expected.GetDouble()), "upstream's own sum");
    }

    [ConformanceFact]
    public void Beta_tables_agree()
    {
        foreach (var table in SchedulerCase.File(Generated).GetProperty("beta_tables").EnumerateArray())
        {
            var config = SchedulerCase.ReadConfig(table.GetProperty("scheduler").GetString()!, table.GetProperty("overrides"));
            var schedule = NoiseSchedule.Build(config, finiteSigmas: false);
            int[] indices = [.. table.GetProperty("indices").EnumerateArray().Select(i => i.GetInt32())];
            double[] bar = SchedulerCase.Doubles(table.GetProperty("alphas_cumprod"));
            for (int k = 0; k < indices.Length; k++)
                Assert.True(Math.Abs(schedule.AlphaBar[indices[k]] - bar[k]) <= 1e-6 * bar[k] + 1e-10, $"{table.GetProperty("overrides")}: alpha-bar[{indices[k]}] is {schedule.AlphaBar[indices[k]]:r}, expected {bar[k]:r}");
        }
    }

    private static double SumTolerance(JsonElement json, double expected) =>
        json.TryGetProperty("suggested_sum_tolerance_abs", out var suggested) ? suggested.GetDouble()
        : json.GetProperty("expected_sum_tolerance_abs") is { ValueKind: JsonValueKind.Number } own ? own.GetDouble()
        : 1e-5 * Math.Abs(expected) + 1e-8;

    private static double[] Draw(int j) => [.. Enumerable.Range(0, 192).Select(k => (double)(float)(Math.Sqrt(3) * (2 * ((k * 7919L + j * 104729L + 13) % 10007 / 10007.0) - 1)))];

    // Some upstream loops overwrite the latent by the scaled one, y = s*x, before the step. With alpha/s and sigma/s the estimates read y, and a latent
    // that a slot holds is the scaled one of then. What Heun's corrector has from the predictor itself (half the latent as it is) is not scaled again.
    private static SamplerPlan FedScaled(SamplerPlan plan)
    {
        var evaluations = new List<Evaluation>();
        var scales = new Dictionary<int, double>();
        foreach (var e in plan.Evaluations)
        {
            double s = e.InputScale;
            evaluations.Add(e with
            {
                Alpha = e.Alpha / s,
                Sigma = e.Sigma / s,
                X = plan.Name == "heun" && e.History.Count > 0 ? 0.5 + (e.X - 0.5) * s : e.X * s,
                History = [.. e.History.Select(t => t with { Coefficient = t.Coefficient * scales.GetValueOrDefault(t.Slot, 1) })],
            });
            if (e.Keep != Kept.None) scales[e.KeepSlot] = e.Keep == Kept.Sample ? s : 1;
        }

        return plan with { Evaluations = evaluations };
    }

    // The upstream loop runs over IPNDM's times twice and keeps the estimates of the first run.
    private static SamplerPlan Twice(SamplerPlan plan)
    {
        double[] levels = [.. plan.Evaluations.Select(e => e.Sigma), 0];
        return plan with { Evaluations = [.. plan.Evaluations, .. Enumerable.Range(0, plan.Steps).Select(i => Ipndm.Evaluation(levels, plan.Timesteps, i, plan.Steps + i))] };
    }

    private static void AssertGrid(double[] expected, double[] actual, string what) =>
        AssertValues(expected, actual, [.. expected.Select(v => GridTolerance * Math.Max(Math.Abs(v), 1e-3))], what);

    private static void AssertValues(double[] expected, IReadOnlyList<double> actual, double tolerance, string what) =>
        AssertValues(expected, [.. actual.Take(expected.Length)], [.. expected.Select(_ => tolerance)], what);

    private static void AssertValues(double[] expected, IReadOnlyList<double> actual, double[] tolerance, string what)
    {
        Assert.True(expected.Length == actual.Count, $"{what}: expected {expected.Length} values, found {actual.Count}");
        for (int i = 0; i < expected.Length; i++)
        {
            Assert.True(
                Math.Abs(expected[i] - actual[i]) <= tolerance[i],
                FormattableString.Invariant($"{what}[{i}]: expected {expected[i]:r}, found {actual[i]:r}, off by {Math.Abs(expected[i] - actual[i]):e2}, allowed {tolerance[i]:e2}"));
        }
    }
}
