using System.Runtime.InteropServices;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;

namespace DiffusionCore.Tests.Samplers;

/// <summary>The device's fused step, driven by a plan, agrees with the plan run in double: every sampler, clipping, thresholds and learned variance.</summary>
public sealed class FusedStepTests
{
    private const int Images = 2, Pixels = 35, Channels = 3, Elements = Pixels * Channels, Count = Images * Elements;

    public static TheoryData<string, string> Runs
    {
        get
        {
            var data = new TheoryData<string, string>();
            foreach (string name in Sampler.Names)
            {
                foreach (string how in (string[])["plain", "v", "clip", "threshold", "small threshold"]) if (!(name == "repaint" && how == "v")) data.Add(name, how);
            }

            data.Add("ddpm", "learned_range");
            data.Add("ddpm", "learned");
            foreach (string name in (string[])["dpm-multistep", "dpm-singlestep", "dpm-inverse", "deis", "unipc"])
            {
                data.Add(name, "third order");
                data.Add(name, "third order, threshold");
            }

            data.Add("sa_solver", "sde");
            data.Add("score-sde-ve", "batch norms");
            data.Add("DPMSolverMultistepScheduler", "dpmsolver, threshold");
            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Runs))]
    public void Device_and_double_agree(string name, string how)
    {
        var config = new SchedulerConfig
        {
            BetaStart = 0.00085, BetaEnd = 0.012, BetaSchedule = "scaled_linear", ClipSample = how == "clip", Thresholding = how.EndsWith("threshold", StringComparison.Ordinal),
            ThresholdRatio = 0.9, ThresholdMaximum = how.StartsWith("small", StringComparison.Ordinal) ? 0.7 : 1.5, Prediction = how == "v" ? Prediction.V : Prediction.Epsilon,
            VarianceType = how.StartsWith("learned", StringComparison.Ordinal) ? how : "fixed_small", SolverOrder = how.StartsWith("third", StringComparison.Ordinal) ? 3 : 2,
            PredictorOrder = 3, CorrectorOrder = 4,
            AlgorithmType = how.StartsWith("dpmsolver", StringComparison.Ordinal) ? "dpmsolver" : "dpmsolver++", FinalSigmaZero = !how.StartsWith("dpmsolver", StringComparison.Ordinal),
        };
        bool variance = how.StartsWith("learned", StringComparison.Ordinal);
        var plan = Sampler.Plan(config, new SamplerOptions { Steps = name == "repaint" ? 4 : 16, Eta = name is "ddim" or "repaint" ? 0.5 : null, Shift = 1.15, JumpLength = 2, JumpSamples = 2, BatchNorms = how == "batch norms" }, name);
        var random = new Random(11);
        double[] known = [.. Enumerable.Range(0, Count).Select(_ => (double)(float)(random.NextDouble() - 0.5))], mask = [.. Enumerable.Range(0, Count).Select(_ => (double)(float)random.NextDouble())];
        double[] start = [.. Enumerable.Range(0, Count).Select(_ => (double)(float)((random.NextDouble() - 0.5) * 3.4 * plan.InitialSigma))];
        var draws = new List<double[]>();
        var states = new List<double[]>();
        var outputs = new List<double[]>();
        HostSampler.Run(plan, start, Network, z =>
        {
            for (int i = 0; i < Count; i++) z[i] = (float)(2 * random.NextDouble() - 1);
            draws.Add((double[])z.Clone());
        }, Images, (_, x) => states.Add(x), known: known, mask: mask);
        OnDevice(plan, start, variance, outputs, draws, states, known, mask);

        double[] Network(double[] x, double t)
        {
            double[] m = Array.ConvertAll(x, v => 0.6 * Math.Tanh(v + 0.001 * t));
            if (variance) m = [.. Enumerable.Range(0, Images).SelectMany(n => m[(n * Elements)..((n + 1) * Elements)].Concat(m[(n * Elements)..((n + 1) * Elements)].Select(v => v - 0.3)))];
            outputs.Add(m);
            return m;
        }
    }

    // The device gets the latents and the network's outputs of the run in double, so that each step is compared for itself; its history is its own.
    private static void OnDevice(SamplerPlan plan, double[] start, bool variance, List<double[]> outputs, List<double[]> draws, List<double[]> states, double[] known, double[] mask)
    {
        using var device = new CpuDevice(2);
        const long Bytes = Count * sizeof(float);
        using DeviceBuffer x = device.Allocate(Bytes), model = device.Allocate(2 * Bytes), noise = device.Allocate(Bytes), work = device.Allocate(Bytes), given = device.Allocate(Bytes), where = device.Allocate(Bytes);
        Put(device, known, given);
        Put(device, mask, where);
        DeviceBuffer[] slots = [.. Enumerable.Range(0, plan.Slots).Select(_ => device.Allocate(Bytes))];
        int draw = 0, output = 0;
        for (int k = 0; k < plan.Evaluations.Count; k++)
        {
            var e = plan.Evaluations[k];
            Put(device, k == 0 ? start : states[k - 1], x);
            if (e.Evaluates) Put(device, variance ? Interleaved(outputs[output++]) : outputs[output++], model);
            if (e.DrawsNoise) Put(device, draws[draw += e.UnusedDraws], noise);
            if (e.DrawsNoise) draw++;
            var kept = e.Keep == Kept.None ? null : slots[e.KeepSlot];
            var first = e.History.Count > 0 ? e.History[0] : new HistoryTerm(-1, 0);
            var second = e.History.Count > 1 ? e.History[1] : new HistoryTerm(-1, 0);
            var third = e.History.Count > 2 ? e.History[2] : new HistoryTerm(-1, 0);
            Assert.True(e.History.Count <= 3);
            if (plan.ThresholdRatio > 0) Assert.DoesNotContain(e.History, t => e.Keep != Kept.None && t.Slot == e.KeepSlot);
            device.RunSamplerStep(new SamplerStepArguments
            {
                Images = Images, Elements = Elements, Sample = x, Model = model, Prediction = plan.Prediction, Alpha = e.Alpha, Sigma = e.Sigma, Next = x,
                Clip = plan.Clip, ClipRederivesEpsilon = plan.ClipRederivesEpsilon, ThresholdRatio = plan.ThresholdRatio, ThresholdMaximum = plan.ThresholdMaximum,
                X = e.X, D = e.D, E = e.E, N = e.N, Noise = e.DrawsNoise ? noise : null,
                History1 = first.Slot < 0 ? null : slots[first.Slot], H1 = first.Coefficient, History2 = second.Slot < 0 ? null : slots[second.Slot], H2 = second.Coefficient,
                History3 = third.Slot < 0 ? null : slots[third.Slot], H3 = third.Coefficient, Numbers = e.Reading, LangevinRatio = e.LangevinRatio, BatchNorms = plan.BatchNorms,
                Known = e.Known is null ? null : given, Mask = e.Known is null ? null : where, KnownSignal = e.Known?.Signal ?? 0, KnownNoise = e.Known?.Noise ?? 0,
                DenoisedOut = e.Keep == Kept.Denoised ? kept : work, EpsilonOut = e.Keep == Kept.Epsilon ? kept : null, SampleOut = e.Keep == Kept.Sample ? kept : e.SampleSlot >= 0 ? slots[e.SampleSlot] : null,
                VarianceChannels = variance ? Channels : 0, VarianceMinLog = e.LearnedVariance?.Minimum ?? 0, VarianceMaxLog = e.LearnedVariance?.Maximum ?? 0,
            });
            var found = new float[Count];
            device.Download(x, MemoryMarshal.AsBytes(found.AsSpan()));
            double largest = Math.Max(1, states[k].Max(Math.Abs));
            for (int i = 0; i < Count; i++) Assert.True(Math.Abs(found[i] - states[k][i]) <= 3e-5 * largest, $"evaluation {k}, element {i}: device {found[i]}, double {states[k][i]}");
        }

        foreach (var slot in slots) slot.Dispose();
    }

    // [image][kind][pixel, channel] to [image][pixel][kind, channel].
    private static double[] Interleaved(double[] m)
    {
        var mixed = new double[m.Length];
        for (int i = 0; i < m.Length; i++)
        {
            int image = i / (2 * Elements), kind = i / Elements % 2, pixel = i % Elements / Channels, channel = i % Channels;
            mixed[((image * Pixels + pixel) * 2 + kind) * Channels + channel] = m[i];
        }

        return mixed;
    }

    private static void Put(Device device, double[] values, DeviceBuffer buffer) => device.Upload(MemoryMarshal.AsBytes(Array.ConvertAll(values, v => (float)v).AsSpan()), buffer);
}
