using DiffusionCore.Runtime;

namespace DiffusionCore.Shortcuts;

/// <summary>
/// DeepCache (Ma et al. 2024): of every Interval evaluations one is whole; the others compute the finest layers alone, and take what came from below
/// from the last whole one.
/// </summary>
/// <param name="Interval">1 computes everything.</param>
/// <param name="Branch">The skip that the short evaluations end at: 0 keeps the first convolution and the last layer of the way up, larger numbers more.</param>
public sealed record DeepCacheOptions(int Interval, int Branch = 0)
{
    public const double DefaultCenter = 0.3, DefaultPower = 1.4;

    /// <summary>Whether whole evaluations lie closer together around <see cref="Center"/>; evenly where not.</summary>
    public bool Quadratic { get; init; }

    /// <summary>Where in the run, 0 to 1, the quadratic schedule is densest.</summary>
    public double Center { get; init; } = DefaultCenter;

    /// <summary>The exponent of the quadratic schedule; 1 is even.</summary>
    public double Power { get; init; } = DefaultPower;

    /// <summary>interval=3,branch=0,schedule=uniform|quadratic,center=0.3,power=1.4; only the interval must be given.</summary>
    /// <exception cref="UsageException">What is not that.</exception>
    public static DeepCacheOptions Parse(string text)
    {
        var pairs = new OptionPairs("deepcache", text, "interval", "branch", "schedule", "center", "power");
        return new DeepCacheOptions(pairs.Whole("interval", null, 1, 1000), pairs.Whole("branch", 0, 0, 1000))
        {
            Quadratic = pairs.Word("schedule", "uniform", "uniform", "quadratic") == "quadratic", Center = pairs.Real("center", DefaultCenter, 0, 1), Power = pairs.Real("power", DefaultPower, 1, 10),
        };
    }

    /// <summary>Which of a run's evaluations are whole: the first always.</summary>
    public bool[] Whole(int evaluations)
    {
        var whole = new bool[evaluations];
        if (!Quadratic)
        {
            for (int i = 0; i < evaluations; i += Interval) whole[i] = true;
            return whole;
        }

        // Evenly spaced in the root of the distance from the centre, as many as evenly spaced in time.
        double center = Center * evaluations;
        int count = (evaluations + Interval - 1) / Interval;
        double low = -Math.Pow(center, 1 / Power), high = Math.Pow(evaluations - center, 1 / Power);
        for (int k = 0; k < count; k++)
        {
            double u = low + (high - low) * k / count;
            whole[Math.Clamp((int)Math.Floor(center + Math.Sign(u) * Math.Pow(Math.Abs(u), Power)), 0, evaluations - 1)] = true;
        }

        whole[0] = true;
        return whole;
    }
}
