using DiffusionCore.Noise;
using DiffusionCore.Samplers;
using DiffusionCore.Samplers.KDiffusion;

namespace DiffusionCore.Tests.Samplers;

/// <summary>The measured order of every solver on noise levels: of the path on a mixture, of the moments on a normal distribution.</summary>
public sealed class ConvergenceTests
{
    private const double High = 10, Low = 0.1, DataMean = 0.4, DataVariance = 0.3, Slack = 0.25;

    /// <summary>Solvers and orders. The multistep ones start with a step of first order, whose error is of second order, so more steps back do not raise theirs.</summary>
    [Theory]
    [InlineData("euler", 1)]
    [InlineData("euler_ancestral", 1)]
    [InlineData("gradient_estimation", 1)]
    [InlineData("gddim", 1)]
    [InlineData("heun", 2)]
    [InlineData("restart", 2)]
    [InlineData("dpm_2", 2)]
    [InlineData("dpm_2_ancestral", 2)]
    [InlineData("dpmpp_2s_ancestral", 2)]
    [InlineData("dpmpp_sde", 2)]
    [InlineData("dpmpp_2m", 2)]
    [InlineData("dpmpp_2m_sde", 2)]
    [InlineData("dpmpp_3m_sde", 2)]
    [InlineData("res_multistep", 2)]
    [InlineData("seeds_2", 2)]
    [InlineData("seeds_3", 3)]
    [InlineData("dpm_fast", 3)]
    public void The_path_is_met_with_the_order_of_the_solver(string name, int order)
    {
        // 3k + 2 evaluations for dpm_fast: its last step is then of second order, with an error of third.
        double[] errors = [.. new[] { 83, 167, 335 }.Select(n => PathError(name, SigmaSchedule.Exponential(Low, High, n + 1)))];
        AssertOrder(name, errors, order);
    }

    /// <summary>
    /// First steps so short that their errors do not count show the order of the formula itself. (dpmpp_3m_sde stays of second order even so: its second
    /// difference has half the weight of the expansion, in k-diffusion as in the paper's code.)
    /// </summary>
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    public void After_a_slow_start_linear_multistep_has_its_full_order(int order) =>
        AssertOrder("lms", [.. new[] { 80, 160, 320 }.Select(n => PathError("lms", [.. Enumerable.Range(0, n + 1).Select(i => High * Math.Pow(Low / High, Math.Pow((double)i / n, 3)))], order))], order);

    [Theory]
    [InlineData("euler_ancestral", 1)]
    [InlineData("gddim", 1)]
    [InlineData("dpm_2_ancestral", 2)]
    [InlineData("dpmpp_2s_ancestral", 2)]
    [InlineData("res_multistep_ancestral", 2)]
    [InlineData("dpmpp_sde", 2)]
    [InlineData("dpmpp_2m_sde", 2)]
    [InlineData("dpmpp_3m_sde", 2)]
    [InlineData("seeds_2", 2)]
    [InlineData("seeds_3", 2)]
    [InlineData("er_sde", 2)]
    public void Moments_are_met_with_the_weak_order_of_the_solver(string name, int order) =>
        AssertOrder(name, [.. new[] { 80, 160, 320 }.Select(n => MomentError(name, n))], order);

    /// <summary>Samples of a normal distribution in the plane have the moments that the exact calculation says, and their bias falls.</summary>
    [Theory]
    [InlineData("euler_ancestral", 1)]
    [InlineData("dpm_2_ancestral", 2)]
    [InlineData("dpmpp_2s_ancestral", 2)]
    [InlineData("dpmpp_sde", 2)]
    [InlineData("dpmpp_2m_sde", 2)]
    [InlineData("dpmpp_3m_sde", 2)]
    [InlineData("seeds_2", 2)]
    [InlineData("seeds_3", 2)]
    [InlineData("er_sde", 2)]
    public void A_hundred_thousand_samples_have_the_moments(string name, int order)
    {
        const int Samples = 100_000;
        // Covariance R diag(a, b) R^T with a rotation of 0.6: in its axes the two parts are apart.
        double[] mean = [0.4, -0.2], parts = [0.7, 0.15];
        var (sin, cos) = Math.SinCos(0.6);
        var biases = new List<double>();
        foreach (int steps in (int[])[8, 16])
        {
            var plan = KSampler.Plan(name, GaussianWorld.Levels(SigmaSchedule.Exponential(Low, High, steps + 1)));
            var generator = new TorchCpuGenerator(17);
            var x = new double[2 * Samples];
            generator.Normal(x);
            for (int i = 0; i < Samples; i++)
            {
                double u = x[2 * i] * Math.Sqrt(parts[0] + High * High), v = x[2 * i + 1] * Math.Sqrt(parts[1] + High * High);
                (x[2 * i], x[2 * i + 1]) = (mean[0] + cos * u - sin * v, mean[1] + sin * u + cos * v);
            }

            // Two intervals from one level: the longer one holds the shorter, and what it drew.
            var (start, end1) = (double.NaN, double.NaN);
            var drawn = new double[2 * Samples];
            double[] end = HostSampler.Run(plan, x, Denoise, z => generator.Normal(z), path: (from, to, z) =>
            {
                generator.Normal(z);
                double shared = from == start ? (from - end1) / (from - to) : 0;
                for (int i = 0; shared > 0 && i < z.Length; i++) z[i] = Math.Sqrt(shared) * drawn[i] + Math.Sqrt(1 - shared) * z[i];
                (start, end1) = (from, to);
                z.CopyTo(drawn, 0);
            });
            double bias = 0;
            for (int axis = 0; axis < 2; axis++)
            {
                double[] along = [.. Enumerable.Range(0, Samples).Select(i => axis == 0 ? cos * end[2 * i] + sin * end[2 * i + 1] : -sin * end[2 * i] + cos * end[2 * i + 1])];
                double center = axis == 0 ? cos * mean[0] + sin * mean[1] : -sin * mean[0] + cos * mean[1];
                double average = along.Average(), variance = along.Average(v => (v - average) * (v - average));
                var (exactMean, exactVariance) = GaussianWorld.Moments(plan, center, parts[axis], center, parts[axis] + High * High);
                // Five standard errors.
                Assert.Equal(exactMean, average, 5 * Math.Sqrt(exactVariance / Samples));
                Assert.Equal(exactVariance, variance, 5 * exactVariance * Math.Sqrt(2.0 / Samples));
                bias += Math.Abs(variance - parts[axis] - Low * Low);
            }

            double cross = Enumerable.Range(0, Samples).Average(i => (cos * (end[2 * i] - mean[0]) + sin * (end[2 * i + 1] - mean[1])) * (-sin * (end[2 * i] - mean[0]) + cos * (end[2 * i + 1] - mean[1])));
            Assert.Equal(0, cross, 5 * Math.Sqrt((parts[0] + 0.1) * (parts[1] + 0.1) / Samples));
            biases.Add(bias);
        }

        // Eight steps are few, so the order is not yet sharp; 0.01 is what the samples leave open.
        Assert.True(biases[1] <= biases[0] / Math.Pow(2, order - 0.5) + 0.01, $"{name}: bias {biases[0]:g3} with 8 steps, {biases[1]:g3} with 16");

        double[] Denoise(double[] input, double sigma)
        {
            double a = parts[0] / (parts[0] + sigma * sigma), b = parts[1] / (parts[1] + sigma * sigma);
            var denoised = new double[input.Length];
            for (int i = 0; i < Samples; i++)
            {
                double u = a * (cos * (input[2 * i] - mean[0]) + sin * (input[2 * i + 1] - mean[1])), v = b * (-sin * (input[2 * i] - mean[0]) + cos * (input[2 * i + 1] - mean[1]));
                (denoised[2 * i], denoised[2 * i + 1]) = (mean[0] + cos * u - sin * v, mean[1] + sin * u + cos * v);
            }

            return denoised;
        }
    }

    private static void AssertOrder(string name, double[] errors, int order)
    {
        for (int i = 0; i + 1 < errors.Length; i++)
        {
            double measured = Math.Log2(errors[i] / errors[i + 1]);
            Assert.True(Math.Abs(measured - order) <= Slack, $"{name}: errors {string.Join(", ", errors.Select(e => e.ToString("e2")))} fall with order {measured:f2}, expected {order}");
        }
    }

    private static double PathError(string name, double[] sigmas, int? order = null)
    {
        bool ancestral = name is not ("restart" or "lms" or "heun" or "dpm_2" or "euler" or "dpmpp_2m" or "gradient_estimation" or "res_multistep");
        var plan = KSampler.Plan(name, GaussianWorld.Levels(sigmas), new KOptions { Eta = ancestral ? 0 : null, Order = order });
        double worst = 0;
        foreach (double z in (double[])[-1.3, -0.2, 0.4, 1.7])
        {
            double[] end = HostSampler.Run(plan, [High * z], (x, sigma) => [GaussianWorld.DenoiseMixture(x[0], sigma)], Array.Clear);
            worst = Math.Max(worst, Math.Abs(end[0] - GaussianWorld.ExactMixture(High * z, High, Low)));
        }

        return worst;
    }

    private static double MomentError(string name, int steps)
    {
        var plan = KSampler.Plan(name, GaussianWorld.Levels(SigmaSchedule.Exponential(Low, High, steps + 1)), new KOptions { Eta = name == "gddim" ? 1 : null });
        var (mean, variance) = GaussianWorld.Moments(plan, DataMean, DataVariance, DataMean, DataVariance + High * High);
        return Math.Abs(variance - DataVariance - Low * Low) + Math.Abs(mean - DataMean);
    }
}
