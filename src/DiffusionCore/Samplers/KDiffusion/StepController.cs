using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Samplers.KDiffusion;

/// <summary>
/// Proportional, integral and derivative control of a step size by the last three errors (Soderlind 2003): h grows by a product of powers of 1/error,
/// smoothed by 1 + atan(x - 1). An error of 1 is what the tolerance allows.
/// </summary>
internal sealed class StepController(double h, KOptions options, double order)
{
    private const double Smallest = 1e-8;

    private readonly double b1 = (options.Proportional + options.Integral + options.Derivative) / order;
    private readonly double b2 = -(options.Proportional + 2 * options.Derivative) / order;
    private readonly double b3 = options.Derivative / order;
    private readonly double[] inverse = new double[3];
    private bool started;

    public double H { get; private set; } = h;

    /// <summary>Takes the error of a step, sets the next size, and says whether the step stands.</summary>
    public bool Accepts(double error)
    {
        double now = 1 / (error + Smallest);
        if (!started) inverse.AsSpan().Fill(now);
        started = true;
        inverse[0] = now;
        double factor = 1 + Math.Atan(Power(inverse[0], b1) * Power(inverse[1], b2) * Power(inverse[2], b3) - 1);
        bool accepts = factor >= options.AcceptSafety;
        if (accepts) (inverse[2], inverse[1]) = (inverse[1], inverse[0]);
        H *= factor;
        return accepts;
    }

    private static double Power(double x, double y) => y == 0 ? 1 : DoubleMath.Exp(y * DoubleMath.Log(x));
}
