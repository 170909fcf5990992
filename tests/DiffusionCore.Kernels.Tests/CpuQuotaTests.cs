using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Kernels.Tests;

public sealed class CpuQuotaTests : IDisposable
{
    private readonly string root = Directory.CreateTempSubdirectory("quota").FullName;

    public void Dispose() => Directory.Delete(root, recursive: true);

    [Theory]
    [InlineData("150000 100000", 1.5)]
    [InlineData("50000 100000", 0.5)]
    [InlineData("400000 100000", 4.0)]
    [InlineData("max 100000", null)]
    [InlineData("garbage", null)]
    [InlineData("", null)]
    public void Version_2_limits_by_quota_over_period(string text, double? expected)
    {
        Write("proc/self/cgroup", "0::/\n");
        Write("sys/fs/cgroup/cpu.max", text + "\n");
        Assert.Equal(expected, CpuQuota.Cores(root));
    }

    [Fact]
    public void The_least_of_a_group_and_those_above_it_counts()
    {
        Write("proc/self/cgroup", "0::/slice/job\n");
        Write("sys/fs/cgroup/slice/job/cpu.max", "300000 100000\n");
        Write("sys/fs/cgroup/slice/cpu.max", "200000 100000\n");
        Write("sys/fs/cgroup/cpu.max", "max 100000\n");
        Assert.Equal(2.0, CpuQuota.Cores(root));
    }

    /// <summary>Within a container the path may be the host's: the mount's root is then the group.</summary>
    [Fact]
    public void A_path_of_the_host_falls_back_to_the_mounts_root()
    {
        Write("proc/self/cgroup", "0::/docker/abc\n");
        Write("sys/fs/cgroup/cpu.max", "100000 50000\n");
        Assert.Equal(2.0, CpuQuota.Cores(root));
    }

    [Theory]
    [InlineData("250000", 2.5)]
    [InlineData("-1", null)]
    public void Version_1_has_two_files(string quota, double? expected)
    {
        Write("proc/self/cgroup", "5:memory:/x\n3:cpu,cpuacct:/x\n0::/\n");
        Write("sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us", quota + "\n");
        Write("sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us", "100000\n");
        Assert.Equal(expected, CpuQuota.Cores(root));
    }

    [Fact]
    public void No_files_no_limit() => Assert.Null(CpuQuota.Cores(root));

    [Theory]
    [InlineData(8, null, 8)]
    [InlineData(8, 1.5, 2)]
    [InlineData(8, 2.0, 2)]
    [InlineData(8, 0.1, 1)]
    [InlineData(2, 16.0, 2)]
    public void Threads_are_the_processors_up_to_the_quota_rounded_up(int processors, double? quota, int expected) => Assert.Equal(expected, CpuQuota.Threads(processors, quota));

    private void Write(string path, string text)
    {
        string full = Path.Combine(root, path);
        Directory.CreateDirectory(Path.GetDirectoryName(full)!);
        File.WriteAllText(full, text);
    }
}
