using DiffusionCore.Json;
using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Pipelines;

/// <content>
/// Cascades: a folder whose model_index.json has the class CascadePipeline, "stages": folders of models in order, each a model folder of its own, and
/// "noise_levels": for each stage but the first the training step whose noise its small image gets (0, the default, for none).
/// </content>
public sealed partial class ModelFolder
{
    internal const string CascadeClass = "CascadePipeline";

    /// <summary>The stage whose images this model raises the resolution of; null where it is the first or the only one.</summary>
    public ModelFolder? Previous { get; private set; }

    /// <summary>The noise that a cascade adds to the small image, as a training step; 0 for none.</summary>
    public int NoiseLevel { get; private set; }

    /// <summary>Classes that a request may name: the model's, or those of a former stage.</summary>
    public ClassNames? AskedClasses => Classes ?? Previous?.AskedClasses;

    // A list of two numbers is no component here, so the file is not read as a ModelIndex.
    private static ConfigFile? CascadeIn(string folder) =>
        ModelIndex.IsIn(folder) && ConfigFile.Load(System.IO.Path.Combine(folder, ModelIndex.FileName)) is { ClassName: CascadeClass } config ? config : null;

    private static ModelFolder LoadCascade(string path, ConfigFile config, ModelOptions options)
    {
        if (options.ControlNets.Count + options.Loras.Count > 0 || options.FirstStage is not null || options.Tokenizer is not null) throw new UsageException($"{path} is a cascade: its stages take no ControlNet, LoRA, first stage or tokenizer from outside");
        string[] stages = config.GetOptionalStrings("stages") ?? [];
        if (stages.Length < 2) throw new ModelFileException(config.Path, "stages", $"expected the folders of two stages or more, found {stages.Length}");
        int[] levels = config.GetOptionalInts("noise_levels", 0) ?? new int[stages.Length - 1];
        if (levels.Length != stages.Length - 1) throw new ModelFileException(config.Path, "noise_levels", $"expected {stages.Length - 1}, one for each stage but the first, found {levels.Length}");
        ModelFolder? last = null;
        try
        {
            for (int i = 0; i < stages.Length; i++)
            {
                string folder = ComponentFolder.Of(path, stages[i]);
                if (CascadeIn(folder) is not null) throw new ModelFileException(folder, "_class_name", "is a cascade itself; list its stages in the outer one");
                var stage = Load(folder, options);
                (stage.Previous, last, var previous) = (last, stage, last);
                if (previous is null) continue;
                if (stage.Denoiser is not LowResolutionDenoiser denoiser) throw new ModelFileException(stage.Network.Path, "in_channels", $"expected {2 * stage.Denoiser.OutputChannels}, an image beside the noisy one, found {stage.Denoiser.Channels}: a later stage of a cascade reads the former one's image");
                if (denoiser.Channels != previous.ImageChannels) throw new ModelFileException(stage.Network.Path, "out_channels", $"expected {previous.ImageChannels}, the channels of the former stage's images, found {denoiser.Channels}");
                if (levels[i - 1] >= stage.Scheduler.TrainSteps) throw new ModelFileException(config.Path, "noise_levels", $"expected training steps below {stage.Scheduler.TrainSteps}, found {levels[i - 1]}");
                if (levels[i - 1] > 0 && !denoiser.TakesNoiseLevel) throw new ModelFileException(config.Path, "noise_levels", $"stage {stages[i]} is not told the level (class_embed_type timestep); expected 0, found {levels[i - 1]}");
                stage.NoiseLevel = levels[i - 1];
            }

            return last!;
        }
        catch
        {
            last?.Dispose();
            throw;
        }
    }
}
