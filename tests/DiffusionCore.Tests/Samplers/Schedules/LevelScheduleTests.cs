using DiffusionCore.Runtime;
using DiffusionCore.Samplers;
using DiffusionCore.Samplers.Schedules;

namespace DiffusionCore.Tests.Samplers.Schedules;

/// <summary>Schedules against the peer's lists, the papers' tables and numbers worked by hand; where programs differ, each program's own.</summary>
public sealed class LevelScheduleTests
{
    private static readonly ModelLevels Model = ModelLevels.Of(new SchedulerConfig { BetaStart = 0.00085, BetaEnd = 0.012, BetaSchedule = "scaled_linear" });

    public static TheoryData<string, int> PeerLists
    {
        get
        {
            var data = new TheoryData<string, int>();
            foreach (string name in (string[])["karras", "exponential", "polyexponential0.7", "vp"])
            {
                foreach (int n in (int[])[4, 10, 20]) data.Add(name, n);
            }

            return data;
        }
    }

    public static TheoryData<string, Compatibility> Everything
    {
        get
        {
            var data = new TheoryData<string, Compatibility>();
            foreach (string name in LevelSchedule.Names)
            {
                foreach (var compatibility in Enum.GetValues<Compatibility>()) data.Add(name, compatibility);
            }

            return data;
        }
    }

    [ConformanceTheory]
    [MemberData(nameof(PeerLists))]
    public void Levels_agree_with_the_peer(string name, int n)
    {
        // The peer's model has these ends, in float32.
        var model = new ModelLevels([0.0291675, 14.614642]);
        double[] expected = SchedulerCase.Doubles(SchedulerCase.File("kdiffusion_generated.json").GetProperty("sigmas").GetProperty($"{name}-{n}"));
        bool poly = name.StartsWith("poly", StringComparison.Ordinal);
        double[] found = LevelSchedule.Build(poly ? "polyexponential" : name, model, n, Compatibility.KDiffusion, poly ? 0.7 : null);
        Assert.Equal(expected.Length, found.Length);
        // float32 at the peer: the powers lose up to 3e-6, and e^x - 1 of the VP process half a unit of 1.
        double lost = name == "vp" ? 6e-8 : 0;
        for (int i = 0; i < expected.Length; i++) Assert.True(Math.Abs(expected[i] - found[i]) <= 3e-6 * expected[i] + lost / Math.Max(expected[i], 1e-3), $"level {i}: {found[i]:r}, expected {expected[i]:r}");
    }

    [Theory]
    [MemberData(nameof(Everything))]
    public void Levels_fall_from_the_largest_to_the_end(string name, Compatibility compatibility)
    {
        foreach (int n in (int[])[2, 3, 7, 10, 11, 20, 50])
        {
            double[] levels = LevelSchedule.Build(name, Model, n, compatibility);
            for (int i = 1; i < levels.Length; i++) Assert.True(levels[i] < levels[i - 1], $"{n} steps, level {i}: {levels[i]} after {levels[i - 1]}");
            bool open = name == "kl_optimal" && compatibility == Compatibility.A1111;
            Assert.Equal(open ? Model.Minimum : 0, levels[^1], 1e-12);
            // Strides that do not divide, and dropped duplicates, change the number of steps.
            if (name is not ("ddim_uniform" or "beta")) Assert.Equal(n + 1, levels.Length);
            if (name is not ("vp" or "ddim_uniform" or "ays_svd" or "ays_if")) Assert.Equal(Model.Maximum, levels[0], 0.001);
        }
    }

    [Fact]
    public void Levels_by_training_steps_are_those_of_the_table()
    {
        Assert.Equal([Model.Sigmas[999], Model.Sigmas[749], Model.Sigmas[499], Model.Sigmas[249], 0], Build("simple", 4));
        Assert.Equal([Model.Sigmas[999], Model.Sigmas[666], Model.Sigmas[333], Model.Sigmas[0], 0], Build("normal", 4));
        Assert.Equal([Model.Sigmas[999], Model.Sigmas[666], Model.Sigmas[333], Model.Sigmas[0], 0], Build("uniform", 4));
        Near([Model.Sigma(999), Model.Sigma(749.25), Model.Sigma(499.5), Model.Sigma(249.75), 0], Build("sgm_uniform", 4), 1e-12);
        Assert.Equal([Model.Sigmas[751], Model.Sigmas[501], Model.Sigmas[251], Model.Sigmas[1], 0], Build("ddim_uniform", 4));
        Assert.Equal(Math.Sqrt(Model.Sigmas[3] * Model.Sigmas[4]), Model.Sigma(3.5), 1e-12);
    }

    [Fact]
    public void The_two_kinds_of_kl_optimal_and_beta_differ_as_their_programs_do()
    {
        double first = Math.Atan(Model.Maximum), last = Math.Atan(Model.Minimum);
        Near([Model.Maximum, Math.Tan((first + last) / 2), Model.Minimum], Build("kl_optimal", 2, Compatibility.A1111), 1e-12);
        Near([Model.Maximum, Math.Tan((first + last) / 2), Model.Minimum, 0], Build("kl_optimal", 3, Compatibility.Comfy), 1e-12);

        // The distribution is symmetric: its median is one half.
        double[] webui = Build("beta", 3, Compatibility.A1111), comfy = Build("beta", 3, Compatibility.Comfy);
        Near([Model.Maximum, (Model.Maximum + Model.Minimum) / 2, Model.Minimum, 0], webui, 1e-9);
        int third = (int)Math.Round(999 * SigmaSchedule.BetaQuantile(1.0 / 3, 0.6, 0.6));
        Near([Model.Sigmas[999], Model.Sigmas[999 - third], Model.Sigmas[third], 0], comfy, 1e-12);
        // Many steps round to the same training step at the ends.
        Assert.True(Build("beta", 300, Compatibility.Comfy).Length < 301);
    }

    [Fact]
    public void Align_your_steps_has_the_papers_tables()
    {
        double[] paper = [14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029];
        Assert.Equal([.. paper, 0], Build("ays", 11, Compatibility.A1111));
        double[] ten = Build("align_your_steps", 10, Compatibility.Comfy);
        Assert.Equal(11, ten.Length);
        Assert.Equal(0, ten[^1]);
        Near(paper[..10], ten[..10], 0.003);
        Assert.Equal(6.3184485287, Build("ays_sdxl", 10)[1]);
        Assert.Equal(54.5, Build("ays_svd", 10)[1]);
        // Twice the intervals: every other level stays, the others are geometric means.
        double[] twice = Build("ays", 20);
        Assert.Equal(Math.Sqrt(14.6146412293 * 6.4745760956), twice[1], 1e-9);
        Assert.Equal(6.4745760956, twice[2], 1e-9);
    }

    [Fact]
    public void Linear_quadratic_is_the_published_list() =>
        Near([1, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875, 0], LevelSchedule.Build("linear_quadratic", new ModelLevels([0.001, 1]), 8, Compatibility.Comfy), 1e-12);

    [Fact]
    public void A_shift_moves_the_log_snr() =>
        Near([6, 3, 0], LevelSchedule.Shift([2, 1, 0], 3), 0);

    [Theory]
    [InlineData("karas", 5, "did you mean 'karras'")]
    [InlineData("karras", 0, "steps: expected 1 or more")]
    public void Bad_input_is_refused(string name, int steps, string problem) =>
        Assert.Contains(problem, Assert.Throws<UsageException>(() => Build(name, steps)).Message, StringComparison.Ordinal);

    [Fact]
    public void Bad_numbers_are_refused()
    {
        Assert.Contains("rho: expected a positive number", Assert.Throws<UsageException>(() => LevelSchedule.Build("karras", Model, 4, Compatibility.Comfy, -1)).Message, StringComparison.Ordinal);
        Assert.Contains("shift: expected a positive number", Assert.Throws<UsageException>(() => LevelSchedule.Shift([2, 1], 0)).Message, StringComparison.Ordinal);
        Assert.Contains("did you mean 'comfy'", Assert.Throws<UsageException>(() => Compatibilities.Parse("comfi")).Message, StringComparison.Ordinal);
        Assert.Equal(Compatibility.A1111, Compatibilities.Parse("A1111"));
    }

    private static double[] Build(string name, int steps, Compatibility compatibility = Compatibility.Diffusers) => LevelSchedule.Build(name, Model, steps, compatibility);

    private static void Near(double[] expected, double[] actual, double tolerance)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < expected.Length; i++) Assert.Equal(expected[i], actual[i], tolerance);
    }
}
