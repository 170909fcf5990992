using System.Buffers.Binary;
using DiffusionCore.Runtime;

namespace DiffusionCore.Weights.SingleFile;

/// <summary>What a single file's network predicts, and how that is known.</summary>
/// <param name="Type">epsilon or v_prediction; null where nothing tells.</param>
/// <param name="ZeroSignal">Trained with a last step that is all noise.</param>
public sealed record SingleFilePrediction(string? Type, string Reason, bool ZeroSignal = false)
{
    private const string Epsilon = "epsilon", Velocity = "v_prediction", MetadataKey = "modelspec.prediction_type";

    // The step that SD 2's network of 512 pixels, which predicts noise, was published at; later ones predict velocity.
    private const long Sd2BaseStep = 875_000;

    private const long MaximumSettings = 1 << 20;

    /// <summary>Looks, in this order, at the file's metadata, its marker tensors, its step count, the settings beside it, its family.</summary>
    internal static SingleFilePrediction Of(Checkpoint file, SingleFileKind kind)
    {
        bool zero = file.TryGet("ztsnr", out _);
        if (file.Metadata.TryGetValue(MetadataKey, out string? said))
        {
            return said switch
            {
                Epsilon or "eps" => new(Epsilon, $"metadata {MetadataKey}", zero),
                Velocity or "v" or "v-prediction" => new(Velocity, $"metadata {MetadataKey}", zero),
                _ => throw new ModelFileException(file.Path, MetadataKey, $"'{said}' is not supported; expected epsilon or v"),
            };
        }

        if (file.TryGet("edm_mean", out _) || file.TryGet("edm_vpred.sigma_max", out _)) throw new ModelFileException(file.Path, "edm", "is a network of continuous noise levels; not supported as a single file");
        if (file.TryGet("v_pred", out _)) return new(Velocity, "tensor v_pred", zero);
        if (kind is not SingleFileKind.Sd2) return new(Epsilon, "family", zero);
        if (Step(file) is { } step) return new(step == Sd2BaseStep ? Epsilon : Velocity, $"global_step {step}", zero);
        string settings = System.IO.Path.ChangeExtension(file.Path, ".yaml");
        if (!File.Exists(settings)) return new(null, "neither metadata nor global_step nor a .yaml beside the file tells whether this network of Stable Diffusion 2 predicts noise or velocity", zero);
        try
        {
            if (new FileInfo(settings).Length > MaximumSettings) throw new ModelFileException(settings, null, $"has more than {MaximumSettings} bytes; expected a model's settings");
            bool velocity = File.ReadLines(settings).Select(l => l.Split('#')[0].Replace("\"", "", StringComparison.Ordinal).Replace("'", "", StringComparison.Ordinal).Trim()).Contains("parameterization: v");
            return new(velocity ? Velocity : Epsilon, System.IO.Path.GetFileName(settings), zero);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ModelFileException(settings, null, $"cannot be read: {e.Message}", e);
        }
    }

    private static long? Step(Checkpoint file)
    {
        if (!file.TryGet("global_step", out var e) || e.Bytes > 8) return null;
        var bytes = new byte[8];
        file.Read(e.Name, bytes.AsSpan(0, (int)e.Bytes));
        return e.Type is StorageType.I64 or StorageType.I32 ? BinaryPrimitives.ReadInt64LittleEndian(bytes) : null;
    }
}
