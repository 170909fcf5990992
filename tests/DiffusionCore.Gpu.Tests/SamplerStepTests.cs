using System.Runtime.InteropServices;
using DiffusionCore.Runtime;

namespace DiffusionCore.Gpu.Tests;

/// <summary>The fused sampler step against the CPU's, every feature by itself and together.</summary>
[Collection(Devices.Name)]
public class SamplerStepTests
{
    private const int Channels = 3;

    public static TheoryData<string> Features() =>
    [
        "plain", "sample", "v", "flow", "guided", "clip", "clip rederive", "threshold", "threshold small maximum", "threshold of the last element", "eps term", "one history", "two histories",
        "three histories", "noise", "keeps", "separate result", "variance", "variance guided", "variance clip keeps", "numbers", "known", "known noise", "threshold known", "langevin", "langevin batch", "langevin guided known", "all", "perturbed", "guided perturbed", "guided rescale", "guided perturbed rescale variance", "guided projected", "guided projected momentum keeps",
        "guided projected momentum threshold", "guided rescale threshold work", "guided projected momentum variance",
    ];

    [Theory]
    [MemberData(nameof(Features))]
    public void A_step_is_that_of_the_cpu_on_ilgpu_cpu(string feature) => Check(Devices.IlgpuCpu, feature, 2, 5 * Channels);

    [OpenCLTheory]
    [MemberData(nameof(Features))]
    public void A_step_is_that_of_the_cpu_on_opencl(string feature) => Check(Devices.OpenCL, feature, 3, 337 * Channels);

    [OpenCLTheory]
    [InlineData(0.0)]
    [InlineData(0.5)]
    [InlineData(0.995)]
    [InlineData(1.0)]
    public void A_quantile_of_equal_numbers_is_that_number(double ratio)
    {
        // Ties, zeros and a number above the bound: with 2.5 everywhere but in one place the quantile is 2.5.
        var x = Enumerable.Repeat(2.5f, 64).ToArray();
        x[17] = ratio == 1 ? 2.5f : -3;
        using var cpu = new CpuDevice(1);
        float[] expected = Thresholded(cpu, x, ratio), got = Thresholded(Devices.OpenCL, x, ratio);
        for (int i = 0; i < x.Length; i++) Assert.Equal(expected[i], got[i], 6);
    }

    private static float[] Thresholded(Device device, float[] x, double ratio)
    {
        using DeviceBuffer sample = Put(device, x), model = Put(device, x), work = Put(device, x);
        device.RunSamplerStep(new SamplerStepArguments
        {
            Images = 1, Elements = x.Length, Sample = sample, Model = model, Next = sample, DenoisedOut = work, Prediction = Prediction.Sample, Alpha = 0.6, Sigma = 0.8,
            Clip = double.PositiveInfinity, ThresholdRatio = ratio, ThresholdMaximum = 10, D = 1,
        });
        return Get(device, sample, x.Length);
    }

    private static void Check(IlgpuDevice device, string feature, int images, int elements)
    {
        using var cpu = new CpuDevice(1);
        float[][] expected = Run(cpu, feature, images, elements), got = Run(device, feature, images, elements);
        for (int b = 0; b < expected.Length; b++)
        {
            float largest = Math.Max(1, expected[b].Max(Math.Abs));
            for (int i = 0; i < expected[b].Length; i++)
                Assert.True(Math.Abs(expected[b][i] - got[b][i]) <= 2e-6f * largest, $"{feature}, result {b}, element {i}: cpu {expected[b][i]}, {device.Name} {got[b][i]}");
        }
    }

    private static float[][] Run(Device device, string feature, int images, int elements)
    {
        bool Has(string word) => feature == "all" && word is not ("variance" or "threshold" or "langevin" or "projected" or "momentum") || feature.Split(' ').Contains(word);
        bool langevin = Has("langevin"), known = Has("known"), variance = Has("variance"), guided = Has("guided"), threshold = Has("threshold"), keeps = Has("keeps") || feature == "all";
        int count = images * elements, seed = 3;
        var buffers = new List<DeviceBuffer>();
        DeviceBuffer Random(int n)
        {
            var random = new Random(seed++);
            buffers.Add(Put(device, [.. Enumerable.Range(0, n).Select(_ => (float)(random.NextDouble() * 6 - 3))]));
            return buffers[^1];
        }

        DeviceBuffer sample = Random(count), model = Random(count * (variance ? 2 : 1) * ((guided ? 2 : 1) + (Has("perturbed") ? 1 : 0))), h1 = Random(count), h2 = Random(count), h3 = Random(count), noise = Random(count);
        DeviceBuffer next = feature == "separate result" ? Random(count) : sample, denoised = Random(count), epsilon = Random(count), before = Random(count);
        DeviceBuffer given = Random(count), mask = Put(device, [.. Enumerable.Range(0, count).Select(i => i % 3 == 0 ? 1f : i % 3 == 1 ? 0 : 0.25f)]);
        buffers.Add(mask);
        DeviceBuffer running = Random(count + 3 * images), work = Random(count);
        int histories = Has("three") ? 3 : Has("two") ? 2 : Has("one") ? 1 : 0;
        device.RunSamplerStep(new SamplerStepArguments
        {
            Images = images, Elements = elements, Sample = sample, Model = model, Guided = guided, GuidanceScale = 2.25, Next = next,
            Prediction = feature switch { "sample" => Prediction.Sample, "v" => Prediction.V, "flow" => Prediction.Flow, _ => Prediction.Epsilon }, Alpha = 0.8, Sigma = 0.6,
            Clip = Has("clip") ? 1 : double.PositiveInfinity, ClipRederivesEpsilon = Has("rederive"),
            ThresholdRatio = !threshold ? 0 : feature.EndsWith("element", StringComparison.Ordinal) ? 1 : 0.9, ThresholdMaximum = feature.EndsWith("maximum", StringComparison.Ordinal) ? 1.25 : 100,
            X = 0.7, D = 0.4, E = Has("eps") || Has("clip") || langevin ? -0.3 : 0, H1 = histories > 0 ? 0.2 : 0, H2 = histories > 1 ? -0.15 : 0, H3 = histories > 2 ? 0.05 : 0,
            History1 = histories > 0 ? h1 : null, History2 = histories > 1 ? h2 : null, History3 = histories > 2 ? h3 : null,
            N = Has("noise") || variance || langevin ? 0.5 : 0, Noise = Has("noise") || variance || langevin || known ? noise : null,
            Numbers = Has("numbers") ? new StepNumbers(0.3, -0.7, 0.9, 0.2, 1.5, -0.5) : null, LangevinRatio = langevin ? 0.16 : 0, BatchNorms = Has("batch"),
            Known = known ? given : null, Mask = known ? mask : null, KnownSignal = 0.9, KnownNoise = 0.35,
            Perturbed = Has("perturbed"), PerturbedScale = 1.75, Rescale = Has("rescale") ? 0.7 : 0, Projected = Has("projected") ? new Projection(9, Has("momentum") ? -0.6 : 0, 0.2) : null,
            Running = Has("momentum") ? running : null, Work = Has("work") ? work : null,
            DenoisedOut = keeps || threshold || langevin ? denoised : null, EpsilonOut = keeps ? epsilon : null, SampleOut = keeps ? before : null,
            VarianceChannels = variance ? Channels : 0, VarianceMinLog = -4, VarianceMaxLog = -1,
        });
        var results = new List<float[]> { Get(device, next, count), Get(device, sample, count) };
        if (keeps) results.AddRange([Get(device, denoised, count), Get(device, epsilon, count), Get(device, before, count)]);
        if (Has("momentum")) results.Add(Get(device, running, count));
        foreach (var buffer in buffers) buffer.Dispose();
        return [.. results];
    }

    private static DeviceBuffer Put(Device device, float[] values)
    {
        var buffer = device.Allocate(values.Length * sizeof(float));
        device.Upload(MemoryMarshal.AsBytes(values.AsSpan()), buffer);
        return buffer;
    }

    private static float[] Get(Device device, DeviceBuffer buffer, int count)
    {
        var values = new float[count];
        device.Download(buffer, MemoryMarshal.AsBytes(values.AsSpan()));
        return values;
    }
}
