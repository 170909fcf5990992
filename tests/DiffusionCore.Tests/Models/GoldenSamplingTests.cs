using DiffusionCore.Pipelines;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;
using DiffusionCore.Samplers.Authors;

namespace DiffusionCore.Tests.Models;

/// <summary>
/// Whole runs of the authors' own samplers on their own networks, from their folders as they stand: every parameter is read there. The bound is 1e-4 of the
/// largest expected number, and looser where the data says so.
/// </summary>
[Trait("Category", "Conformance")]
public sealed class GoldenSamplingTests
{
    private const double AblationBound = 2e-4, FlowBound = 1e-3;

    public static TheoryData<string> EdmFolders() => GoldenSampling.Folders("edm_sample");

    public static TheoryData<string> Edm2Folders() => GoldenSampling.Folders("edm2_sample");

    public static TheoryData<string> ConsistencyFolders() => GoldenSampling.Folders("cm_samplers");

    public static TheoryData<string> ScoreFolders() => GoldenSampling.Folders("song_pc_");

    public static TheoryData<string> GuidedFolders() => GoldenSampling.Folders("adm_sample");

    /// <summary>Latents and denoised images of every step, with the gradient of the classifier in them.</summary>
    [ConformanceTheory]
    [MemberData(nameof(GuidedFolders))]
    public void Guided_diffusion_samples_as_its_authors_do(string name)
    {
        using var golden = new GoldenSampling(name);
        var own = (GuidedDiffusion)golden.Model.Own!;
        var plan = own.Plan(new SamplerOptions { Steps = own.StepsOf(null) }, null, null)!;
        IDenoiser denoiser = golden.Model.Denoiser;
        if (own.ClassifierScale > 0 && golden.Model.Classifier is { } classifier)
        {
            var guide = new ClassifierGuide(denoiser, classifier, plan, own.ClassifierScale);
            (plan, denoiser) = (guide.Plan, guide);
        }

        if (golden.Outputs.Contains("model_timesteps")) Assert.Equal(golden.Floats("model_timesteps").Select(t => (double)t), plan.Evaluations.Select(e => e.Time));
        float[] last = golden.Run(plan, "noise", k => $"step_noise{k}", denoiser: denoiser, after: (e, x) =>
        {
            if (golden.Outputs.Contains($"x{e.Step}")) golden.AssertClose($"x{e.Step}", x);
        });
        golden.AssertClose("final", last);
    }

    [ConformanceTheory]
    [MemberData(nameof(EdmFolders))]
    public void Edm_samples_as_its_authors_do(string name)
    {
        using var golden = new GoldenSampling(name);
        var own = (EdmSampling)golden.Model.Own!;
        foreach (string output in golden.Outputs)
        {
            if (output.StartsWith("x_cur", StringComparison.Ordinal)) continue;
            if (output.StartsWith("ablation", StringComparison.Ordinal))
            {
                string which = EdmAblation.Names.First(n => output.Contains(n["ablation-".Length..], StringComparison.Ordinal));
                golden.AssertClose(output, golden.Run(EdmAblation.Plan(which, own.Steps, own.Round), "latents", k => $"noise{k}"), AblationBound);
                continue;
            }

            bool plain = output == "samples_plain";
            var plan = (plain ? own with { Churn = 0 } : own).Plan(new SamplerOptions { Steps = own.Steps }, null, null)!;
            int draws = 0;
            golden.AssertClose(output, golden.Run(plan, "latents", k => $"noise{k}", after: (e, x) => Compare(e, x)));

            // The peer's state at the start of a step comes before its churn, which joins the update before it here.
            void Compare(Evaluation e, float[] x)
            {
                if (plain) return;
                float[]? noise = e.DrawsNoise ? golden.Floats($"noise{draws++}", "in.") : null;
                int at = plan.Evaluations.ToList().FindIndex(v => ReferenceEquals(v, e));
                if (at + 1 >= plan.Evaluations.Count || plan.Evaluations[at + 1].Step == e.Step || !golden.Outputs.Contains($"x_cur{e.Step + 1}")) return;
                golden.AssertClose($"x_cur{e.Step + 1}", noise is null ? x : [.. x.Select((v, i) => (float)(v - e.N * noise[i]))]);
            }
        }
    }

    /// <summary>Where the folder does not say how much the run with churn churns, it is as found for ImageNet.</summary>
    [ConformanceTheory]
    [MemberData(nameof(Edm2Folders))]
    public void Edm2_samples_as_its_authors_do(string name)
    {
        using var golden = new GoldenSampling(name);
        var own = (EdmSampling)golden.Model.Own!;
        var churn = EdmSampling.ImageNetChurn;
        foreach (string output in golden.Outputs)
        {
            if (output == "churn_draws") continue;
            var sampling = output == "churn" && own.Churn == 0 ? own with { Churn = churn.Amount, ChurnMinimum = churn.Minimum, ChurnMaximum = churn.Maximum, ChurnNoise = churn.Noise } : output == "churn" ? own : own with { Churn = 0 };
            var plan = sampling.Plan(new SamplerOptions { Steps = own.Steps }, null, null)!;
            golden.AssertClose(output, golden.Run(plan, "noise", k => $"noise{k}", output == "guided" ? own.Guidance : 1));
            if (output == "churn" && golden.Outputs.Contains("churn_draws")) Assert.Equal(BitConverter.ToInt64(GoldenModel.Read(golden.IO, "out.churn_draws")), plan.Evaluations.Count(e => e.DrawsNoise));
        }
    }

    [ConformanceTheory]
    [MemberData(nameof(ConsistencyFolders))]
    public void Consistency_models_sample_as_their_authors_do(string name)
    {
        using var golden = new GoldenSampling(name);
        var own = (ConsistencySampling)golden.Model.Own!;
        foreach (string output in golden.Outputs)
        {
            string[] words = output.Split('_');
            if (!own.Names.Contains(words[0])) continue;
            bool churns = words.Contains("churn"), clips = !churns && !words.Contains("noclip");
            var sampling = own with { Churn = churns ? own.Churn : 0, Clip = clips };
            var plan = sampling.Plan(new SamplerOptions { Steps = sampling.StepsOf(words[0]) }, words[0], null)!;
            float[] got = golden.Run(plan, "noise", k => $"step_noise{k}");
            golden.AssertClose(output, Array.ConvertAll(got, v => Math.Clamp(v, -1, 1)));   // pixels are clamped, as the peer's results
        }
    }

    [ConformanceTheory]
    [MemberData(nameof(ScoreFolders))]
    public void Score_networks_sample_as_their_authors_do(string name)
    {
        using var golden = new GoldenSampling(name);
        var own = (ScoreSampling)golden.Model.Own!;
        var options = new SamplerOptions { Steps = own.Steps, BatchNorms = true };
        golden.AssertClose("samples", golden.Run((own with { RemovesNoise = true }).Plan(options, null, null)!, "prior", k => $"noise{k}"));
        if (golden.Outputs.Contains("samples_no_denoise"))
            golden.AssertClose("samples_no_denoise", golden.Run((own with { RemovesNoise = false }).Plan(options, null, null)!, "prior", k => $"noise{k}"));
    }

    [ConformanceTheory]
    [MemberData(nameof(ScoreFolders))]
    public void The_probability_flow_ends_where_the_authors_does(string name)
    {
        using var golden = new GoldenSampling(name);
        if (!golden.Outputs.Contains("ode_samples")) return;
        var own = (ScoreSampling)golden.Model.Own!;
        var plan = own.Plan(new SamplerOptions { Steps = own.Steps }, "ode", null)!;
        using var device = new CpuDevice(2);
        using var network = new NetworkFunction(device, golden.Model.Denoiser, new SessionShape((int)golden.Dims[0], (int)golden.Dims[2], (int)golden.Dims[3], false));
        double[] start = [.. golden.ChannelsLast(golden.Floats("prior", "in.")).Select(v => v * plan.InitialSigma)];
        // The peer takes the steps of the whole batch by one error, which a session, made for one image at a time, does not.
        double[] end = HostSampler.Run(plan, start, network.Evaluate);
        golden.AssertClose("ode_samples", golden.ChannelsFirst<double>(end), FlowBound);
    }

    [ConformanceTheory]
    [MemberData(nameof(ScoreFolders))]
    public void Scores_are_the_authors(string name)
    {
        using var golden = new GoldenSampling(name);
        if (!golden.Outputs.Contains("score")) return;
        var own = (ScoreSampling)golden.Model.Own!;
        double[] x = golden.ChannelsLast(golden.Floats("prior", "in.")), score = new double[x.Length], times = [0.3, 0.9];
        using var device = new CpuDevice(2);
        using var network = new NetworkFunction(device, golden.Model.Denoiser, new SessionShape((int)golden.Dims[0], (int)golden.Dims[2], (int)golden.Dims[3], false));
        for (int image = 0; image < times.Length; image++)
        {
            double[] answer = network.Evaluate(x, own.TimeOf(times[image]));
            var reading = own.At(times[image], 0).Reading!.Value;
            for (int i = image * x.Length / times.Length; i < (image + 1) * x.Length / times.Length; i++) score[i] = -reading.B1 * answer[i] / own.Scale(times[image]);
        }

        golden.AssertClose("score", golden.ChannelsFirst<double>(score));
    }
}
