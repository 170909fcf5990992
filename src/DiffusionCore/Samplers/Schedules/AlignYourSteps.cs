using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Samplers.Schedules;

/// <summary>
/// The optimised schedules of Sabour, Fidler and Kreis 2024 ("Align Your Steps", table 3 and its ten-decimal form), eleven levels each; other counts by
/// interpolation of ln sigma.
/// </summary>
public static class AlignYourSteps
{
    /// <summary>Table 3 of the paper, three decimals.</summary>
    private static readonly (string Name, double[] Levels)[] Rounded =
    [
        ("ays_sd15", [14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029]),
        ("ays_sdxl", [14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029]),
        ("ays_svd", [700.00, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002]),
        ("ays_if", [160.41, 8.081, 3.315, 1.885, 1.207, 0.785, 0.553, 0.293, 0.186, 0.030, 0.006]),
    ];

    private static readonly (string Name, double[] Levels)[] Exact =
    [
        ("ays_sd15", [14.6146412293, 6.4745760956, 3.8636745985, 2.6946151520, 1.8841921177, 1.3943805092, 0.9642583904, 0.6523686016, 0.3977456272, 0.1515232662, 0.0291671582]),
        ("ays_sdxl", [14.6146412293, 6.3184485287, 3.7681790315, 2.1811480769, 1.3405244945, 0.8620721141, 0.5550693289, 0.3798540708, 0.2332364134, 0.1114188177, 0.0291671582]),
    ];

    public static IReadOnlyList<string> Names { get; } = ["ays", .. Rounded.Select(t => t.Name)];

    /// <summary>n levels from the table's first to its last, without a zero: A1111, three decimals.</summary>
    public static double[] Through(string name, int n) => Interpolate(Table(name, Rounded), n);

    /// <summary>n levels and a zero in place of the table's last: ComfyUI and the authors, ten decimals where there are such.</summary>
    public static double[] ToZero(string name, int n) => [.. Interpolate(Table(name, Exact), n + 1)[..^1], 0];

    private static double[] Table(string name, (string Name, double[] Levels)[] first)
    {
        string wanted = name == "ays" ? "ays_sd15" : name;
        return Array.Find(first, t => t.Name == wanted).Levels ?? Array.Find(Rounded, t => t.Name == wanted).Levels;
    }

    private static double[] Interpolate(double[] table, int n)
    {
        if (n == table.Length) return [.. table];
        double[] logs = Array.ConvertAll(table, DoubleMath.Log), at = NoiseSchedule.Linspace(0, table.Length - 1, n);
        return Array.ConvertAll(at, x => DoubleMath.Exp(NoiseSchedule.Interpolate(x, logs)));
    }
}
