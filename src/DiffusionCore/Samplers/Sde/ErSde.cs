using DiffusionCore.Kernels.Host;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers.KDiffusion;

namespace DiffusionCore.Samplers.Sde;

/// <summary>
/// ER-SDE-Solver, orders 1 to 3 (Cui et al. 2023, "Elucidating the solution space of extended reverse-time SDE for diffusion models", algorithms 3 to 5
/// in the variance-exploding form). With a noise scale phi(sigma), r = phi(sigma')/phi(sigma) and dt = sigma' - sigma:
/// <code>
/// x' = r x + (1 - r) D + (dt + phi(sigma') I1) D1 + (dt^2/2 + phi(sigma') I2) D2 + sqrt(sigma'^2 - r^2 sigma^2) z
/// I1 = int_sigma'^sigma 1/phi,  I2 = int_sigma'^sigma (s - sigma)/phi;  D1, D2: divided differences of D in sigma
/// </code>
/// phi(s) = s (e^(s^0.3) + 10), the authors' best (their ER-SDE 5). The integrals are by Gauss-Legendre on pieces, where the authors sum 200 points.
/// </summary>
public static class ErSde
{
    private const int Slots = 2, Pieces = 8;
    private static readonly double[] Nodes = [0.18343464249564980, 0.52553240991632899, 0.79666647741362674, 0.96028985649753623];
    private static readonly double[] Weights = [0.36268378337836198, 0.31370664587788729, 0.22238103445337447, 0.10122853629037626];

    public static SamplerPlan Plan(NoiseLevels levels, KOptions options)
    {
        int order = options.Order ?? 3;
        if (order is < 1 or > 3) throw new UsageException($"order: er_sde has orders 1 to 3, found {order}");
        var tape = new PlanTape(levels);
        double[] s = levels.Sigmas;
        for (int i = 0; i < levels.Steps; i++)
        {
            if (s[i + 1] == 0)
            {
                tape.Add(levels.At(s[i], i) with { D = 1 });
                break;
            }

            double r = Scale(s[i + 1]) / Scale(s[i]), step = s[i + 1] - s[i], own = 1 - r, one = 0, two = 0;
            int used = Math.Min(order, i + 1);
            if (used >= 2)
            {
                double first = step + Scale(s[i + 1]) * Integral(s[i + 1], s[i], _ => 1), gap = s[i] - s[i - 1];
                own += first / gap;
                one -= first / gap;
            }

            if (used == 3)
            {
                double second = step * step / 2 + Scale(s[i + 1]) * Integral(s[i + 1], s[i], at => at - s[i]);
                double near = s[i] - s[i - 1], far = s[i - 1] - s[i - 2], whole = (s[i] - s[i - 2]) / 2;
                own += second / (near * whole);
                one -= second / whole * (1 / near + 1 / far);
                two += second / (far * whole);
            }

            tape.Add(levels.At(s[i], i) with
            {
                X = r,
                D = own,
                History = used == 1 ? [] : used == 2 ? [new((i - 1) % Slots, one)] : [new((i - 1) % Slots, one), new(i % Slots, two)],
                Keep = Kept.Denoised,
                KeepSlot = i % Slots,
                N = Math.Sqrt(Math.Max(0, s[i + 1] * s[i + 1] - r * r * s[i] * s[i])) * options.NoiseScale,
                DrawsNoise = true,
            });
        }

        return tape.Plan("er_sde", slots: Slots);
    }

    /// <summary>The noise scale phi: phi(s) = s would be the ODE, s^2 the reverse SDE.</summary>
    internal static double Scale(double s) => s * (DoubleMath.Exp(SolverMath.Pow(s, 0.3)) + 10);

    // Even pieces in ln sigma: 1/phi rises as 1/sigma towards zero.
    private static double Integral(double low, double high, Func<double, double> weight)
    {
        double from = DoubleMath.Log(low), piece = (DoubleMath.Log(high) - from) / Pieces, sum = 0;
        for (int p = 0; p < Pieces; p++)
        {
            double middle = from + (p + 0.5) * piece;
            for (int k = 0; k < Nodes.Length; k++) sum += Weights[k] * (At(middle + piece / 2 * Nodes[k]) + At(middle - piece / 2 * Nodes[k]));
        }

        return piece / 2 * sum;

        double At(double log)
        {
            double s = DoubleMath.Exp(log);
            return s * weight(s) / Scale(s);
        }
    }
}
