using DiffusionCore.Json;
using DiffusionCore.Runtime;

namespace DiffusionCore.Weights.SingleFile;

/// <summary>A network inside a single file, seen as a component folder: diffusers' names, its configuration.</summary>
/// <param name="Name">unet, vae, text_encoder or text_encoder_2.</param>
/// <param name="Weights">A view; closed with the model.</param>
public sealed record SingleFileComponent(string Name, string Class, ConfigFile Config, Checkpoint Weights);

/// <summary>
/// A whole model in one safetensors file, as the authors of Stable Diffusion 1, 2 and SDXL publish it (CompVis layout). Tensors are renamed,
/// split and turned where they are read; nothing is copied. Such a file holds no vocabulary: the tokenizer comes from elsewhere.
/// </summary>
public sealed class SingleFileModel : IDisposable
{
    // What training leaves beside the networks.
    private static readonly string[] Leftovers =
    [
        "model_ema.", "alphas_cumprod", "betas", "log_one_minus_alphas_cumprod", "posterior_", "sqrt_", "global_step", "lvlb_weights", "scale_factor", "v_pred", "ztsnr", "denoiser.sigmas",
        "first_stage_model.loss.", "first_stage_model.model_ema.", "logvar",
    ];

    private readonly Checkpoint file;

    private SingleFileModel(Checkpoint file, SingleFileKind kind, SingleFilePrediction prediction, List<SingleFileComponent> components)
    {
        this.file = file;
        Kind = kind;
        Prediction = prediction;
        Components = components;
        string[] used = [SingleFileKinds.UNet, SingleFileKinds.FirstStage, "cond_stage_model.", "conditioner.embedders.", .. Leftovers];
        Unused = [.. file.Names.Where(n => !used.Any(u => n.StartsWith(u, StringComparison.Ordinal)))];
    }

    public string Path => file.Path;

    public SingleFileKind Kind { get; }

    public SingleFilePrediction Prediction { get; }

    /// <summary>Those that the file holds; a file may hold the U-Net alone.</summary>
    public IReadOnlyList<SingleFileComponent> Components { get; }

    /// <summary>Tensors of no component that are not known leftovers of training.</summary>
    public IReadOnlyList<string> Unused { get; }

    /// <exception cref="ModelFileException">The file is not sound, of no known kind, or of one that is not read from single files.</exception>
    public static SingleFileModel Open(string path)
    {
        var file = Checkpoint.Open(path);
        try
        {
            var kind = SingleFileKinds.Detect(file);
            if (kind is SingleFileKind.ControlNet or SingleFileKind.Sd3 or SingleFileKind.Flux)
                throw new ModelFileException(path, null, $"is a single file of the kind {kind}; single files of Stable Diffusion 1, 2 and SDXL are read, for others use the model's diffusers folder");
            return new SingleFileModel(file, kind, SingleFilePrediction.Of(file, kind), Read(file, kind));
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>Null where the file does not hold it.</summary>
    public SingleFileComponent? Find(string name) => Components.FirstOrDefault(c => c.Name == name);

    /// <exception cref="ModelFileException">The file does not hold it.</exception>
    public SingleFileComponent Get(string name) => Find(name)
        ?? throw new ModelFileException(Path, name, $"is not in this file; it holds {string.Join(", ", Components.Select(c => c.Name))}");

    /// <summary>The schedule that the model was trained with, as scheduler_config.json would have it.</summary>
    /// <param name="prediction">epsilon or v_prediction, for a file that does not tell; null to take the file's.</param>
    /// <exception cref="ModelFileException">Neither tells.</exception>
    public ConfigFile Scheduler(string? prediction = null) => SingleFileConfigs.Scheduler(
        Path, Kind, prediction ?? Prediction.Type ?? throw new ModelFileException(Path, "prediction_type", $"is unknown: {Prediction.Reason}; say epsilon or v_prediction"), Prediction.ZeroSignal);

    public void Dispose() => file.Dispose();

    private static List<SingleFileComponent> Read(Checkpoint file, SingleFileKind kind)
    {
        var unet = new UNetKeys(file);
        var components = new List<SingleFileComponent> { new("unet", "UNet2DConditionModel", SingleFileConfigs.UNet(file.Path, kind, unet), Checkpoint.View(file, unet.Views())) };
        if (SingleFileKinds.HasPrefix(file, SingleFileKinds.FirstStage))
        {
            var stage = new AutoencoderKeys(file);
            components.Add(new("vae", "AutoencoderKL", SingleFileConfigs.Autoencoder(file.Path, kind, stage), Checkpoint.View(file, stage.Views())));
        }

        if (SingleFileConfigs.IsSd1(kind)) AddClip("text_encoder", SingleFileKinds.Sd1Text);
        else if (kind == SingleFileKind.SdxlRefiner) AddOpenClip("text_encoder_2", SingleFileKinds.RefinerText, projected: true, skipped: 0);
        else if (!SingleFileConfigs.IsXl(kind)) AddOpenClip("text_encoder", SingleFileKinds.Sd2Text, projected: false, skipped: 1);
        else
        {
            AddClip("text_encoder", SingleFileKinds.SdxlFirst);
            AddOpenClip("text_encoder_2", SingleFileKinds.SdxlSecond, projected: true, skipped: 0);
        }

        return components;

        void AddClip(string name, string prefix)
        {
            if (SingleFileKinds.HasPrefix(file, prefix)) Add(name, Checkpoint.View(file, TextKeys.Clip(file, prefix)), openClip: false, projected: false);
        }

        void AddOpenClip(string name, string prefix, bool projected, int skipped)
        {
            if (!SingleFileKinds.HasPrefix(file, prefix)) return;
            int layers = TextKeys.LayersOf(file, prefix) - skipped;
            Add(name, Checkpoint.View(file, TextKeys.OpenClip(file, prefix, layers, projected)), openClip: true, projected);
        }

        void Add(string name, Checkpoint view, bool openClip, bool projected) =>
            components.Add(new(name, projected ? "CLIPTextModelWithProjection" : "CLIPTextModel", SingleFileConfigs.Text(file.Path, view, openClip, projected), view));
    }
}
