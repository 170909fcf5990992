using DiffusionCore.Json;
using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Models;

/// <summary>The fields of an ImageClassifier's config.json, checked.</summary>
public sealed record ImageClassifierConfig(int InChannels, int SampleSize, int[] Channels, int[] Strides, int Groups, double Epsilon, string[] Classes)
{
    public static ImageClassifierConfig Read(ConfigFile f)
    {
        int[] channels = f.GetOptionalInts("block_out_channels", 1, 1 << 16) ?? throw new ModelFileException(f.Path, "block_out_channels", "expected an array of whole numbers, found nothing");
        int[] strides = f.GetOptionalInts("block_strides", 1, 8) ?? throw new ModelFileException(f.Path, "block_strides", "expected an array of whole numbers, found nothing");
        if (channels.Length == 0 || channels.Length != strides.Length) throw new ModelFileException(f.Path, "block_strides", $"expected {channels.Length} numbers as in block_out_channels, found {strides.Length}");
        int groups = f.GetInt("norm_num_groups", 8);
        foreach (int c in channels)
            if (c % groups != 0) throw new ModelFileException(f.Path, "norm_num_groups", $"{groups} groups do not divide {c} channels");
        string[] classes = f.GetOptionalStrings("classes") ?? throw new ModelFileException(f.Path, "classes", "expected an array of names, found nothing");
        return new(f.GetInt("in_channels", 1, 1, 1 << 16), f.GetInt("sample_size", 32, 1, 1 << 14), channels, strides, groups, f.GetDouble("norm_eps", 1e-5, 0, 1), classes);
    }
}

/// <summary>
/// A small convolutional classifier.
/// <code>
/// x --[conv3x3, group norm, SiLU] per block--mean over pixels--> features --head--> logits
/// </code>
/// x: [N, H, W, C] in [-1, 1]; features: [N, last width]; logits: [N, classes].
/// </summary>
public sealed class ImageClassifier : INetwork
{
    private readonly List<(Conv Conv, Norm Norm)> blocks = [];
    private readonly Linear head;

    public ImageClassifier(WeightScope w, ImageClassifierConfig config)
    {
        Config = config;
        int inputs = config.InChannels;
        for (int i = 0; i < config.Channels.Length; i++)
        {
            var block = w.At($"blocks.{i}");
            blocks.Add((new(block.At("conv"), inputs, config.Channels[i], 3, config.Strides[i]), new(block.At("norm"), config.Channels[i], config.Groups, config.Epsilon)));
            inputs = config.Channels[i];
        }

        head = new(w.At("head"), inputs, config.Classes.Length);
    }

    public ImageClassifierConfig Config { get; }

    public void Record(NetworkIO io)
    {
        var (features, logits) = Record(io.Graph, io.Map("image", Config.InChannels));
        io.Output("features", features);
        io.Output("logits", logits);
    }

    public (Value Features, Value Logits) Record(Graph g, Value x)
    {
        for (int i = 0; i < blocks.Count; i++)
        {
            using (g.Layer($"blocks.{i}")) x = g.Silu(blocks[i].Norm.Record(g, blocks[i].Conv.Record(g, x)));
        }

        var pooled = g.GlobalAveragePool(x);
        var features = g.Reshape(pooled, x.Shape[0], x.Shape[3]);
        using (g.Layer("head")) return (features, head.Record(g, features));
    }
}
