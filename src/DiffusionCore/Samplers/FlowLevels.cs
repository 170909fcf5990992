using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Samplers;

/// <summary>Shifts of the levels of rectified flow.</summary>
internal static class FlowLevels
{
    /// <summary>The levels shifted as the configuration says, and stretched so that the last lies at its shift_terminal.</summary>
    public static double[] Shifted(SchedulerConfig config, SamplerOptions options, double[] levels)
    {
        if (config.DynamicShift)
        {
            double mu = options.Shift ?? Of(config, options), shift = config.TimeShiftType == "exponential" ? DoubleMath.Exp(mu) : mu;
            levels = Array.ConvertAll(levels, s => shift / (shift + (1 / s - 1)));
        }
        else
        {
            levels = Array.ConvertAll(levels, s => Static(config.Shift, s));
        }

        if (config.ShiftTerminal is not { } terminal) return levels;
        double scale = (1 - levels[^1]) / (1 - terminal);
        return Array.ConvertAll(levels, s => 1 - (1 - s) / scale);
    }

    /// <summary>Esser et al. 2024, section 5.3.2.</summary>
    public static double Static(double shift, double level) => shift * level / (1 + (shift - 1) * level);

    // On a line through the least and the largest number of tokens.
    private static double Of(SchedulerConfig config, SamplerOptions options)
    {
        int tokens = options.ImageTokens ?? throw config.Problem("use_dynamic_shifting", "the shift follows from the size of the image: give the shift or the number of image tokens");
        double slope = (config.MaxShift - config.BaseShift) / (config.MaxTokens - config.BaseTokens);
        return config.BaseShift + slope * (tokens - config.BaseTokens);
    }
}
