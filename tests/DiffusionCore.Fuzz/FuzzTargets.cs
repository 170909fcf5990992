namespace DiffusionCore.Fuzz;

/// <summary>Every parser of files that come from elsewhere.</summary>
public static class FuzzTargets
{
    public static FuzzTarget[] All => [new SafetensorsTarget(), new NetworkConfigTarget(), new SchedulerConfigTarget(), new PngTarget(), new JpegTarget(), new BitmapTarget()];
}
