using System.Globalization;

namespace DiffusionCore.Peers;

/// <summary>What other processes took of the machine while something ran, by the kernel's counts; Linux only, elsewhere it reads as none.</summary>
internal sealed class ForeignLoad
{
    private const double TicksPerSecond = 100;
    private double total, own;

    private ForeignLoad()
    {
        (total, own) = Read();
    }

    public static ForeignLoad Start() => new();

    /// <summary>Share of one core since the start: 0.05 is a twentieth of a core.</summary>
    public double Stop(double seconds)
    {
        var (nowTotal, nowOwn) = Read();
        return Math.Max(0, (nowTotal - total - (nowOwn - own)) / seconds);
    }

    // Seconds of processor time that all processes took, and that this one took.
    private static (double Total, double Own) Read()
    {
        if (!OperatingSystem.IsLinux()) return default;
        string[] fields = File.ReadLines("/proc/stat").First().Split(' ', StringSplitOptions.RemoveEmptyEntries);
        double busy = 0;
        foreach (int i in new[] { 1, 2, 3, 6, 7, 8 }) busy += double.Parse(fields[i], CultureInfo.InvariantCulture);
        string stat = File.ReadAllText("/proc/self/stat");
        string[] rest = stat[(stat.LastIndexOf(')') + 2)..].Split(' ');
        return (busy / TicksPerSecond, (double.Parse(rest[11], CultureInfo.InvariantCulture) + double.Parse(rest[12], CultureInfo.InvariantCulture)) / TicksPerSecond);
    }
}
