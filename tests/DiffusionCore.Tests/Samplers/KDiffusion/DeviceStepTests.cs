using System.Runtime.InteropServices;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;
using DiffusionCore.Samplers.KDiffusion;

namespace DiffusionCore.Tests.Samplers.KDiffusion;

/// <summary>Every sampler on noise levels on a device, adaptive ones and both branches of guidance among them, agrees with the run in double.</summary>
public sealed class DeviceStepTests
{
    private const int Elements = 105;

    public static TheoryData<string> Samplers => [.. KSampler.Names];

    [Theory]
    [MemberData(nameof(Samplers))]
    public void Device_and_double_agree(string name)
    {
        var plan = KSampler.Plan(name, GaussianWorld.Levels([.. SigmaSchedule.Karras(0.05, 10, 8), 0]), new KOptions { R = name == "dpmpp_sde" ? 0.4 : 0.5, Churn = name is "heun" ? 2 : 0 });
        var random = new Random(11);
        double[] start = [.. Enumerable.Range(0, Elements).Select(_ => (double)(float)((random.NextDouble() - 0.5) * 34))];
        var draws = new List<double[]>();
        double[] expected = HostSampler.Run(plan, start, Network(plan, 0.6), z =>
        {
            for (int i = 0; i < Elements; i++) z[i] = (float)(2 * random.NextDouble() - 1);
            draws.Add((double[])z.Clone());
        }, unconditional: Network(plan, 0.4), guidance: 1.5);

        using var device = new CpuDevice(2);
        const long Bytes = Elements * sizeof(float);
        using DeviceBuffer x = device.Allocate(Bytes), model = device.Allocate(2 * Bytes), noise = device.Allocate(Bytes);
        DeviceBuffer[] slots = [.. Enumerable.Range(0, plan.Slots).Select(_ => device.Allocate(Bytes))];
        // Memory that was never written must not matter.
        foreach (var buffer in (DeviceBuffer[])[model, noise, .. slots]) Put(buffer, [.. Enumerable.Repeat(double.NaN, (int)(buffer.Bytes / sizeof(float)))]);
        Put(x, start);
        var applied = new DeviceStep(device, plan, x, model, noise, null, slots);
        var step = new SamplerStepArguments { Images = 1, Elements = Elements, Guided = true, Clip = plan.Clip, ClipRederivesEpsilon = plan.ClipRederivesEpsilon, ThresholdMaximum = 1 };
        var run = plan.Start();
        int draw = 0, evaluations = 0;
        double measured = double.NaN;
        while (run.Next(measured) is { } e)
        {
            if (e.Evaluates)
            {
                double[] input = Array.ConvertAll(Get(x), v => e.InputScale * v);
                Put(model, [.. Network(plan, 0.4)(input, e.Time), .. Network(plan, 0.6)(input, e.Time)]);
            }

            if (e.DrawsNoise) Put(noise, draws[draw++]);
            applied.Apply(e, ref step, 1.5);
            measured = applied.Measure(e);
            Assert.True(++evaluations < 2000);
        }

        // Adaptive runs choose steps by errors that float rounds; the others differ by rounding alone.
        double largest = Math.Max(1, expected.Max(Math.Abs)), tolerance = plan.Adaptive is null ? 3e-5 : 2e-3;
        double[] found = Get(x);
        for (int i = 0; i < Elements; i++) Assert.True(Math.Abs(found[i] - expected[i]) <= tolerance * largest, $"element {i}: device {found[i]}, double {expected[i]}");
        foreach (var slot in slots) slot.Dispose();

        void Put(DeviceBuffer buffer, double[] values) => device.Upload(MemoryMarshal.AsBytes(Array.ConvertAll(values, v => (float)v).AsSpan()), buffer);

        double[] Get(DeviceBuffer buffer)
        {
            var values = new float[Elements];
            device.Download(buffer, MemoryMarshal.AsBytes(values.AsSpan()));
            return Array.ConvertAll(values, v => (double)v);
        }
    }

    private static Func<double[], double, double[]> Network(SamplerPlan plan, double factor) => (x, sigma) => Array.ConvertAll(x, v => factor * Math.Tanh(v / Math.Sqrt(1 + sigma * sigma)));
}
