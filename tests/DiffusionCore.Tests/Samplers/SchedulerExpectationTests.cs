using System.Text.Json;
using DiffusionCore.Samplers;

namespace DiffusionCore.Tests.Samplers;

/// <content>What the data holds beside whole runs: variances, former timesteps, noised images, velocities, one call for several timesteps.</content>
public sealed partial class SchedulerConformanceTests
{
    public static TheoryData<string> ExpectationNames => Names("expectations", Upstream, e => e.GetProperty("name").GetString()!);

    public static TheoryData<string> FunctionNames => Names("functions", Generated, FunctionName);

    public static TheoryData<string> BatchStepNames => Names("cases", Upstream, c => c.GetProperty("name").GetString()!, n => n.EndsWith(SchedulerCase.BatchStep, StringComparison.Ordinal));

    [ConformanceTheory]
    [MemberData(nameof(ExpectationNames))]
    public void Expectation_holds(string name)
    {
        var e = SchedulerCase.File(Upstream).GetProperty("expectations").EnumerateArray().Single(x => x.GetProperty("name").GetString() == name);
        string scheduler = e.GetProperty("scheduler").GetString()!;
        var config = SchedulerCase.ReadConfig(scheduler, e.GetProperty(e.TryGetProperty("config", out _) ? "config" : "config_overrides"));
        switch (e.GetProperty("kind").GetString())
        {
            case "sigmas":
                var plan = Sampler.Plan(config, new SamplerOptions { Steps = e.GetProperty("steps").GetInt32() });
                double[] sigmas = SchedulerCase.Doubles(e.GetProperty("expected_sigmas"));
                AssertValues(sigmas, plan.Sigmas!, [.. sigmas.Select(s => 1e-5 * s + 1e-8)], "sigmas");
                AssertGrid([.. sigmas[..^1].Select(s => Math.Truncate(s * 1000))], plan.Timesteps, "timesteps");
                break;
            case "previous_timestep":
                double[] given = SchedulerCase.Doubles(e.GetProperty("set_timesteps").GetProperty("timesteps"));
                double[] former = [.. Sampler.Plan(config, new SamplerOptions { Timesteps = given, Steps = given.Length }).Evaluations.Select(v => v.Time).Skip(1), -1];
                AssertValues(SchedulerCase.Doubles(e.GetProperty("expected_previous")), former, 0, "former timesteps");
                break;
            default:
                AssertValues([e.GetProperty("expected").GetDouble()], [Variance(e, scheduler, config)], Math.Max(1e-5, e.GetProperty("tolerance_abs").GetDouble()), "variance");
                break;
        }
    }

    // The expression says the timesteps between which the variance is.
    private static double Variance(JsonElement e, string scheduler, SchedulerConfig config)
    {
        string expression = e.GetProperty("expression").GetString()!;
        int[] arguments = [.. expression[(expression.IndexOf('(', StringComparison.Ordinal) + 1)..^1].Split(',').TakeWhile(a => int.TryParse(a, out _)).Select(int.Parse)];
        bool ddim = scheduler.StartsWith("DDIM", StringComparison.Ordinal);
        int t = arguments[0], before = ddim ? arguments[1] : t - 1;
        if (t == before) return 0;                                          // nothing between the two
        double[] times = before >= 0 ? [t, before] : [t];
        var first = Sampler.Plan(config, new SamplerOptions { Timesteps = times, Steps = times.Length, Eta = ddim ? 1 : null }).Evaluations[0];
        if (!scheduler.StartsWith("UnCLIP", StringComparison.Ordinal)) return first.N * first.N;
        if (t == 0) return 1e-10;                                           // the class's floor, which it adds to nothing at time 0
        // fixed_small_log gives the deviation, learned_range the log of the variance where the network says 'predicted_variance' (0.5 there).
        return first.LearnedVariance is { } bounds ? 0.75 * bounds.Maximum + 0.25 * bounds.Minimum : first.N;
    }

    [ConformanceTheory]
    [MemberData(nameof(FunctionNames))]
    public void Function_agrees(string name)
    {
        var f = SchedulerCase.File(Generated).GetProperty("functions").EnumerateArray().Single(x => FunctionName(x) == name);
        double time = f.GetProperty("timestep").GetDouble();
        var config = SchedulerCase.ReadConfig(f.GetProperty("scheduler").GetString()!, f.GetProperty("overrides"));
        var e = Sampler.Plan(config, new SamplerOptions { Steps = f.GetProperty("steps").GetInt32() }).Evaluations.First(v => Math.Abs(v.Time - time) <= 1e-6 * Math.Max(1, Math.Abs(time)));
        double[] x0 = Images(), z = Draw(0);
        double r = Math.Sqrt(e.Alpha * e.Alpha + e.Sigma * e.Sigma);
        bool velocity = f.GetProperty("fn").GetString() == "get_velocity";
        if (velocity && f.GetProperty("scheduler").GetString() == "EulerDiscreteScheduler")
        {
            // This class takes the index of the step, not its time, for the training step of the level.
            double bar = NoiseSchedule.Build(config, finiteSigmas: false).AlphaBar[e.Step];
            (e, r) = (e with { Alpha = Math.Sqrt(bar), Sigma = Math.Sqrt(1 - bar) }, 1);
        }

        double[] result = [.. x0.Select((x, k) => velocity ? (e.Alpha * z[k] - e.Sigma * x) / r : e.Alpha * x + e.Sigma * z[k])];
        double sum = result.Sum(Math.Abs), largest = result.Max(Math.Abs);
        AssertValues(SchedulerCase.Doubles(f.GetProperty("first8")), result, 2e-6 * largest, "first 8 values");
        AssertValues([f.GetProperty("sum").GetDouble(), f.GetProperty("abs_sum").GetDouble()], [result.Sum(), sum], 2e-6 * sum, "sums");
    }

    [ConformanceTheory]
    [MemberData(nameof(BatchStepNames))]
    public void One_call_for_several_timesteps_agrees(string name)
    {
        var c = SchedulerCase.Load(Upstream, name);
        // Twelve images d, d + 0.1, d - 0.1 at the times 0, 1, 2: one update of four images each, without its noise.
        int[] times = [.. c.Json.GetProperty("step_timesteps")[0].GetProperty("values").EnumerateArray().Select(t => (int)t.GetDouble())];
        double[] shifts = [0, 0.1, -0.1], all = [];
        for (int group = 0; group < 3; group++)
        {
            int t = times[4 * group], stride = c.Class.StartsWith("DDIM", StringComparison.Ordinal) ? 100 : 1;
            double[] steps = t >= stride ? [t, t - stride] : [t];
            var plan = Sampler.Plan(c.Config, new SamplerOptions { Timesteps = steps, Steps = steps.Length });
            double[] x = [.. Enumerable.Range(0, 768).Select(k => (k % 192 * 4 + k / 192) / 768.0 + shifts[group])];
            all = [.. all, .. HostSampler.Run(plan with { Evaluations = [plan.Evaluations[0]] }, x, (input, time) => Array.ConvertAll(input, v => v * time / (time + 1)), images: 4)];
        }

        double sum = all.Sum(Math.Abs);
        AssertValues(SchedulerCase.Doubles(c.Json.GetProperty("reproduced").GetProperty("first16")), all, 2e-5 * all.Max(Math.Abs), "first 16 values");
        AssertValues([c.Json.GetProperty("expected_sum").GetDouble()], [sum], SumTolerance(c.Json, sum), "upstream's own sum");
    }

    private static double[] Images() => [.. Enumerable.Range(0, 192).Select(k => (double)(float)((k * 37 % 192 / 192.0 - 0.5) * 3.4))];

    private static string FunctionName(JsonElement f) => FormattableString.Invariant($"{f.GetProperty("scheduler").GetString()}/{f.GetProperty("fn").GetString()}/{f.GetProperty("timestep").GetDouble()}");

    private static TheoryData<string> Names(string list, string file, Func<JsonElement, string> name, Predicate<string>? which = null)
    {
        var names = new TheoryData<string>();
        if (ConformanceData.Folder is null) return names;
        foreach (var e in SchedulerCase.File(file).GetProperty(list).EnumerateArray()) if (which is null || which(name(e))) names.Add(name(e));
        return names;
    }
}
