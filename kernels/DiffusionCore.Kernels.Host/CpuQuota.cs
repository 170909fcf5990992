// How much processor time a container grants this process.
//
// Control groups, version 2: cpu.max, "QUOTA PERIOD" or "max PERIOD" in microseconds; version 1: cpu.cfs_quota_us (-1: none) and cpu.cfs_period_us. Every group
// from the process's own up to the root limits it, so the least counts. /proc/self/cgroup names the group ("0::/path", or "N:cpu,cpuacct:/path");
// inside a container its own group often is the mount's root, so a path that does not exist there means the root.
using System.Globalization;

namespace DiffusionCore.Kernels.Host;

/// <summary>CPU limits of control groups.</summary>
public static class CpuQuota
{
    /// <summary>Threads that this process can keep busy: processors of its affinity, at most the quota rounded up; at least 1.</summary>
    public static int Threads() => Threads(Environment.ProcessorCount, OperatingSystem.IsLinux() ? Cores("/") : null);

    /// <summary>A quota of one and a half cores takes two threads: one would leave a third of it unused.</summary>
    public static int Threads(int processors, double? quota) => Math.Max(1, quota is { } cores ? (int)Math.Min(processors, Math.Ceiling(cores - 1e-6)) : processors);

    /// <summary>Cores' worth of time that the control groups grant, or null without a limit.</summary>
    /// <param name="root">Where proc and sys are mounted: "/", or a folder that imitates it.</param>
    public static double? Cores(string root)
    {
        double? least = null;
        foreach (string line in Lines(Path.Combine(root, "proc/self/cgroup")))
        {
            string[] parts = line.Split(':', 3);
            if (parts.Length < 3) continue;
            bool unified = parts[0] == "0" && parts[1].Length == 0;
            if (!unified && !parts[1].Split(',').Contains("cpu")) continue;
            foreach (string mount in unified ? (string[])["sys/fs/cgroup", "sys/fs/cgroup/unified"] : ["sys/fs/cgroup/cpu", "sys/fs/cgroup/cpu,cpuacct"])
            {
                string top = Path.Combine(root, mount), group = parts[2].Trim('/');
                while (true)
                {
                    double? here = unified ? Unified(Path.Combine(top, group)) : Legacy(Path.Combine(top, group));
                    if (here is { } cores && (least == null || cores < least)) least = cores;
                    if (group.Length == 0) break;
                    group = Path.GetDirectoryName(group) ?? "";
                }
            }
        }

        return least;
    }

    private static double? Unified(string folder)
    {
        string[] parts = First(Path.Combine(folder, "cpu.max")).Split(' ', StringSplitOptions.RemoveEmptyEntries);
        return parts.Length == 2 ? Ratio(parts[0], parts[1]) : null;
    }

    private static double? Legacy(string folder) => Ratio(First(Path.Combine(folder, "cpu.cfs_quota_us")), First(Path.Combine(folder, "cpu.cfs_period_us")));

    private static double? Ratio(string quota, string period) =>
        long.TryParse(quota, CultureInfo.InvariantCulture, out long q) && long.TryParse(period, CultureInfo.InvariantCulture, out long p) && q > 0 && p > 0 ? (double)q / p : null;

    private static string First(string path) => Lines(path).FirstOrDefault("").Trim();

    // A file that is missing or may not be read limits nothing.
    private static string[] Lines(string path)
    {
        try
        {
            return File.Exists(path) ? File.ReadAllLines(path) : [];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }
}
