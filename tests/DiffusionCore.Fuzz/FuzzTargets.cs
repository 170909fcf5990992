namespace DiffusionCore.Fuzz;

/// <summary>Every parser of files that come from elsewhere.</summary>
public static class FuzzTargets
{
    public static FuzzTarget[] All =>
    [
        new SafetensorsTarget(), new NetworkConfigTarget(), new SchedulerConfigTarget(), new ModelIndexTarget(), new VocabularyTarget(), new MergesTarget(), new TokenizerConfigTarget(), new TokenizerFileTarget(),
        new PngTarget(), new JpegTarget(), new BitmapTarget(),
    ];
}
