namespace DiffusionCore.Runtime;

/// <summary>A prediction as four numbers: denoised = A0 x + B0 m, eps = A1 x + B1 m; and eps = P x + Q denoised.</summary>
public readonly record struct StepNumbers(double A0, double B0, double A1, double B1, double P, double Q)
{
    /// <summary>As the update says, or for x = alpha*x0 + sigma*eps and what the network predicts.</summary>
    public static StepNumbers Of(in SamplerStepArguments s) => s.Numbers ?? Of(s.Prediction, s.Alpha, s.Sigma);

    public static StepNumbers Of(Prediction prediction, double alpha, double sigma)
    {
        double r = Math.Sqrt(alpha * alpha + sigma * sigma), p = 1 / sigma, q = -alpha / sigma;
        return prediction switch
        {
            Prediction.Epsilon => new(1 / alpha, -sigma / alpha, 0, 1, p, q),
            Prediction.Sample => new(0, 1, p, q, p, q),
            Prediction.V => new(alpha / (r * r), -sigma / r, sigma / (r * r), alpha / r, p, q),
            Prediction.Flow => new(1 / (alpha + sigma), -sigma / (alpha + sigma), 1 / (alpha + sigma), alpha / (alpha + sigma), p, q),
            _ => throw new ArgumentOutOfRangeException(nameof(prediction), prediction, "unknown"),
        };
    }
}
