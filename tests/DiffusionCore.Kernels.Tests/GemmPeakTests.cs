using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Kernels.Tests;

public class GemmPeakTests
{
    [Fact]
    public void The_roofs_are_positive_and_of_a_believable_size()
    {
        using var pool = new WorkerPool(2);
        Assert.InRange(PeakMeter.FmaGflopsPerCore(), 0.01, 2000);
        Assert.InRange(PeakMeter.FmaGflops(pool), 0.01, 4000);
        Assert.InRange(PeakMeter.ReadGigabytesPerSecond(pool), 0.1, 5000);
        Assert.InRange(PeakMeter.CopyGigabytesPerSecond(pool), 0.1, 5000);
    }
}
