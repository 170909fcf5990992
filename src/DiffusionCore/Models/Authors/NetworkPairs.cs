using DiffusionCore.Json;
using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Models;

/// <summary>A U-Net of guided diffusion and its classifier in one file, under "unet" and "classifier".</summary>
public sealed class GuidedPair(WeightScope w, ConfigFile f) : INetwork
{
    public OpenAiUNet Network { get; } = new(w.At("unet"), OpenAiUNetConfig.ReadGuided(NetworkPairs.Section(f, "unet")), "out");

    public OpenAiClassifier Classifier { get; } = new(w.At("classifier"), OpenAiUNetConfig.ReadClassifier(NetworkPairs.Section(f, "classifier")));

    public void Record(NetworkIO io)
    {
        using (io.Graph.Layer("unet")) Network.Record(io);
        using (io.Graph.Layer("classifier")) Classifier.Record(io);
    }
}

/// <summary>A network of edm2 and the weaker one that guides it, in one file under "net" and "gnet".</summary>
public sealed class Edm2Pair(WeightScope w, ConfigFile f) : INetwork
{
    public Edm2Precond Network { get; } = new(w.At("net"), Edm2Config.Read(NetworkPairs.Section(f, "net")));

    public Edm2Precond Guide { get; } = new(w.At("gnet"), Edm2Config.Read(NetworkPairs.Section(f, "gnet")));

    public void Record(NetworkIO io)
    {
        using (io.Graph.Layer("net")) Network.Record(io);
    }
}

internal static class NetworkPairs
{
    /// <exception cref="ModelFileException">There is no such object.</exception>
    public static ConfigFile Section(ConfigFile f, string name) => f.GetOptionalObject(name) ?? throw new ModelFileException(f.Path, name, "expected an object, found nothing");
}
