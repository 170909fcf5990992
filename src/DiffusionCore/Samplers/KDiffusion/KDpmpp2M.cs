using static DiffusionCore.Samplers.SolverMath;

namespace DiffusionCore.Samplers.KDiffusion;

/// <summary>
/// DPM-Solver++(2M), Lu et al. 2022b, algorithm 2, on x = x0 + sigma*eps, and its SDE forms of second and third order. lambda = -ln sigma, h the step in
/// lambda; denoised is extrapolated from the last estimates.
/// </summary>
public static class KDpmpp2M
{
    public static SamplerPlan Plan(NoiseLevels levels, KOptions options)
    {
        var tape = new PlanTape(levels);
        double[] s = levels.Sigmas;
        double last = 0;
        for (int i = 0; i < levels.Steps; i++)
        {
            double h = KMath.Lambda(s[i + 1]) - KMath.Lambda(s[i]), phi = -ExpM1(-h), k = i == 0 || s[i + 1] == 0 ? 0 : h / (2 * last);
            tape.Add(levels.At(s[i], i) with { X = s[i + 1] / s[i], D = phi * (1 + k), History = k == 0 ? [] : [new(0, -phi * k)], Keep = Kept.Denoised });
            last = h;
        }

        return tape.Plan("dpmpp_2m", slots: 1);
    }

    /// <summary>The second-order SDE form (Lu et al. 2022b, appendix; heun or midpoint correction).</summary>
    public static SamplerPlan PlanSde(NoiseLevels levels, KOptions options)
    {
        double eta = options.Eta ?? 1;
        var tape = new PlanTape(levels);
        double[] s = levels.Sigmas;
        double last = 0;
        for (int i = 0; i < levels.Steps; i++)
        {
            if (s[i + 1] == 0)
            {
                tape.Add(levels.At(s[i], i) with { D = 1 });
                break;
            }

            double h = KMath.Lambda(s[i + 1]) - KMath.Lambda(s[i]), he = h + eta * h, phi = -ExpM1(-he);
            double k = i == 0 ? 0 : (options.Heun ? 1 - phi / he : phi / 2) * h / last;
            tape.Add(levels.At(s[i], i) with
            {
                X = 1 - phi,
                D = phi + k,
                History = k == 0 ? [] : [new(0, -k)],
                Keep = Kept.Denoised,
                N = Noise(s[i + 1], h, eta) * options.NoiseScale,
                NoiseInterval = eta > 0 ? (s[i], s[i + 1]) : null,
            });
            last = h;
        }

        return tape.Plan("dpmpp_2m_sde", slots: 1);
    }

    /// <summary>
    /// The SDE form with two divided differences of denoised. The second enters with k-diffusion's weight, phi_2/h - 1/2, half of the expansion's: the order
    /// is two, with a smaller error (measured; the same seed gives the peer's image).
    /// </summary>
    public static SamplerPlan PlanSde3(NoiseLevels levels, KOptions options)
    {
        double eta = options.Eta ?? 1;
        var tape = new PlanTape(levels);
        double[] s = levels.Sigmas;
        double h1 = 0, h2 = 0;
        for (int i = 0; i < levels.Steps; i++)
        {
            if (s[i + 1] == 0)
            {
                tape.Add(levels.At(s[i], i) with { D = 1 });
                break;
            }

            double h = KMath.Lambda(s[i + 1]) - KMath.Lambda(s[i]), he = h * (eta + 1), phi1 = -ExpM1(-he), phi2 = 1 - phi1 / he, phi3 = phi2 / he - 0.5;
            double own = phi1, one = 0, two = 0;
            if (i == 1)
            {
                own += phi2 * h / h1;
                one = -phi2 * h / h1;
            }
            else if (i > 1)
            {
                // d1 = near + (near - far)*r0/(r0 + r1), d2 = (near - far)/(r0 + r1); near = (m - m1)/r0, far = (m1 - m2)/r1.
                double r0 = h1 / h, r1 = h2 / h, near = phi2 * (1 + r0 / (r0 + r1)) - phi3 / (r0 + r1), far = -phi2 * r0 / (r0 + r1) + phi3 / (r0 + r1);
                own += near / r0;
                one = -near / r0 + far / r1;
                two = -far / r1;
            }

            tape.Add(levels.At(s[i], i) with
            {
                X = 1 - phi1,
                D = own,
                History = i == 0 ? [] : i == 1 ? [new(0, one)] : [new((i - 1) % 2, one), new(i % 2, two)],
                Keep = Kept.Denoised,
                KeepSlot = i % 2,
                N = Noise(s[i + 1], h, eta) * options.NoiseScale,
                NoiseInterval = eta > 0 ? (s[i], s[i + 1]) : null,
            });
            (h1, h2) = (h, h1);
        }

        return tape.Plan("dpmpp_3m_sde", slots: 2);
    }

    private static double Noise(double sigma, double h, double eta) => eta == 0 ? 0 : sigma * Math.Sqrt(-ExpM1(-2 * h * eta));
}
