using System.Text.Json;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;
using DiffusionCore.Samplers.KDiffusion;

namespace DiffusionCore.Tests.Samplers.KDiffusion;

/// <summary>Every run of the peer's samplers on noise levels, in double.</summary>
public sealed class KDiffusionConformanceTests
{
    private const string Data = "kdiffusion_generated.json";

    // The data has twelve digits. The peer's dpm_fast and dpm_adaptive compute times and levels as float32 tensors, whatever the type of the latents:
    // off by 4e-8. The adaptive one also chooses its steps by that: the error of the first step is 1.8e-8 in double and 4.1e-8 with float32 times,
    // which moves the later steps by 5e-4 and the result by 1e-4. The number of steps is compared exactly.
    private const double Tolerance = 1e-9, SingleTolerance = 1e-7, AdaptiveTolerance = 1e-4;

    public static TheoryData<string> Names
    {
        get
        {
            var names = new TheoryData<string>();
            if (ConformanceData.Folder is null) return names;
            foreach (var c in SchedulerCase.File(Data).GetProperty("cases").EnumerateArray()) names.Add(c.GetProperty("name").GetString()!);
            return names;
        }
    }

    [ConformanceFact]
    public void Every_sampler_of_the_data_is_here() =>
        Assert.Superset(SchedulerCase.File(Data).GetProperty("cases").EnumerateArray().Select(c => c.GetProperty("sampler").GetString()!).ToHashSet(), KSampler.Names.ToHashSet());

    [ConformanceTheory]
    [MemberData(nameof(Names))]
    public void Case_agrees(string name)
    {
        var c = SchedulerCase.File(Data).GetProperty("cases").EnumerateArray().Single(c => c.GetProperty("name").GetString() == name);
        string sampler = c.GetProperty("sampler").GetString()!;
        var p = c.GetProperty("params");
        double[] sigmas = Sigmas(c, p);
        var levels = new NoiseLevels(sigmas, Time: s => s, ScalesInput: false, Prediction.Sample);
        var options = new KOptions
        {
            Eta = p.TryGetProperty("eta", out var eta) ? eta.GetDouble() : null, Churn = Number("s_churn", 0), ChurnMinimum = Number("s_tmin", 0), ChurnMaximum = Number("s_tmax", double.PositiveInfinity),
            NoiseScale = Number("s_noise", 1), R = Number("r", 0.5), Order = p.TryGetProperty("order", out var order) ? order.GetInt32() : null,
            Heun = p.TryGetProperty("solver_type", out var type) && type.GetString() == "heun", RelativeTolerance = Number("rtol", 0.05), AbsoluteTolerance = Number("atol", 0.0078),
        };
        foreach (var given in p.EnumerateObject())
            Assert.Contains(given.Name, (string[])["eta", "s_churn", "s_tmin", "s_tmax", "s_noise", "r", "order", "solver_type", "rtol", "atol", "n", "sigma_min", "sigma_max"]);
        var plan = KSampler.Plan(sampler, levels, options);

        double[] x = [.. Enumerable.Range(0, 192).Select(k => (k * 37 % 192 / 192.0 - 0.5) * 3.4 * plan.InitialSigma)];
        int draws = 0;
        var steps = new HashSet<int>();
        var sums = new List<double>();
        double[] result = HostSampler.Run(
            plan, x,
            (input, sigma) =>
            {
                double[] denoised = Array.ConvertAll(input, v => 0.8 * Math.Tanh(v / Math.Sqrt(1 + sigma * sigma)));
                sums.Add(denoised.Sum(Math.Abs));
                return denoised;
            },
            z => Draw(draws++).CopyTo(z, 0), after: (e, _) => steps.Add(e.Step));
        // Without churn, and after each step of dpm_fast and dpm_adaptive, the peer draws numbers that it does not use.
        int expected = c.GetProperty("noise_calls").GetInt32();
        bool solver = sampler is "dpm_fast" or "dpm_adaptive", unused = solver || (options.Churn == 0 && sampler is ("euler" or "heun" or "dpm_2"));
        Assert.Equal(unused ? 0 : expected, draws);
        if (solver) Assert.Equal(expected, steps.Count);
        double largest = result.Max(Math.Abs), tolerance = sampler == "dpm_adaptive" ? AdaptiveTolerance : solver ? SingleTolerance : Tolerance;
        double[] first = SchedulerCase.Doubles(c.GetProperty("final_first16"));
        for (int i = 0; i < first.Length; i++) Near(first[i], result[i], largest, tolerance, $"value {i}");
        Near(c.GetProperty("final_abs_sum").GetDouble(), result.Sum(Math.Abs), result.Sum(Math.Abs), tolerance, "sum of absolute values");
        Near(c.GetProperty("final_sum").GetDouble(), result.Sum(), result.Sum(Math.Abs), tolerance, "sum");

        // The peer reports denoised once per step, at its start.
        if (!c.TryGetProperty("denoised_abs_sums", out var listed)) return;
        double[] reported = SchedulerCase.Doubles(listed);
        Evaluation[] calls = [.. plan.Evaluations.Where(e => e.Evaluates)];
        int[] starts = [.. Enumerable.Range(0, calls.Length).Where(i => i == 0 || calls[i].Step != calls[i - 1].Step)];
        Assert.Equal(reported.Length, starts.Length);
        for (int i = 0; i < reported.Length; i++) Near(reported[i], sums[starts[i]], sums[starts[i]], tolerance, $"denoised of step {i}");

        double Number(string field, double fallback) => p.TryGetProperty(field, out var v) ? v.GetDouble() : fallback;
    }

    // The levels are float32 at the peer; the data names each by nine digits.
    private static double[] Sigmas(JsonElement c, JsonElement p)
    {
        if (c.TryGetProperty("sigma_schedule", out var schedule) && schedule.ValueKind == JsonValueKind.String)
            return Array.ConvertAll(SchedulerCase.Doubles(SchedulerCase.File(Data).GetProperty("sigmas").GetProperty(schedule.GetString()!)), s => (double)(float)s);
        double least = c.GetProperty("sigma_min").GetDouble(), most = c.GetProperty("sigma_max").GetDouble();
        int n = p.TryGetProperty("n", out var count) ? count.GetInt32() : 2;
        return [.. SigmaSchedule.Exponential(least, most, n), 0];
    }

    private static double[] Draw(int j) => [.. Enumerable.Range(0, 192).Select(k => Math.Sqrt(3) * (2 * ((k * 7919L + j * 104729L + 13) % 10007 / 10007.0) - 1))];

    private static void Near(double expected, double actual, double scale, double tolerance, string what) =>
        Assert.True(Math.Abs(expected - actual) <= tolerance * scale, FormattableString.Invariant($"{what}: expected {expected:r}, found {actual:r}, off by {Math.Abs(expected - actual) / scale:e2} of {scale:g3}"));
}
