using DiffusionCore.Pipelines;
using DiffusionCore.Runtime;
using DiffusionCore.Synthesis;
using DiffusionCore.Tests.Weights;
using DiffusionCore.Weights;

namespace DiffusionCore.Tests;

/// <summary>Models that tests load, and the images that they make of them.</summary>
internal static class TestModels
{
    /// <summary>A model of the repository's own weights folder.</summary>
    public static string Bundled(string name)
    {
        for (var at = new DirectoryInfo(AppContext.BaseDirectory); at is not null; at = at.Parent)
        {
            string path = Path.Combine(at.FullName, "weights", name);
            if (Directory.Exists(path)) return path;
        }

        throw new DirectoryNotFoundException(name);
    }

    /// <summary>A made-up model, written when it is first asked for.</summary>
    public static string Synthetic(this TemporaryFolder folder, string preset, StorageType type = StorageType.F16)
    {
        string path = folder[$"{preset}-{type}"];
        if (!Directory.Exists(path)) SynthModel.Write(SynthPreset.Find(preset), path, 3, type);
        return path;
    }

    public static List<GeneratedImage> Make(string path, GenerateRequest request, int threads)
    {
        using var model = ModelFolder.Load(path);
        using var device = new CpuDevice(threads);
        using var pipeline = new GeneratePipeline(model, device);
        var images = new List<GeneratedImage>();
        pipeline.Generate(request, images.Add);
        return images;
    }

    /// <summary>The pixels of a request's images.</summary>
    public static byte[][] Make(this GeneratePipeline pipeline, GenerateRequest request)
    {
        var images = new List<byte[]>();
        pipeline.Generate(request, image => images.Add(image.Pixels));
        return [.. images];
    }
}
