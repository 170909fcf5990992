using DiffusionCore.Json;
using DiffusionCore.Models;
using DiffusionCore.Samplers;
using DiffusionCore.Samplers.Authors;

namespace DiffusionCore.Pipelines;

/// <content>Networks of the authors' own programs: a config.json says what they are and, where it says how they are sampled, that too.</content>
public sealed partial class ModelFolder
{
    /// <summary>How the authors sample this network; null where a scheduler's configuration says it.</summary>
    public IOwnSampling? Own { get; private set; }

    /// <summary>Whether guidance leads away from a weaker network, with or without a class.</summary>
    public bool GuidesItself => Denoiser is AutoGuidedDenoiser;

    /// <summary>Whether the scheduler classes fit, beside the authors' own samplers: networks that predict noise at the steps of a schedule.</summary>
    internal bool TakesSchedulers => Own is null or GuidedDiffusion or LatentSampling;

    private bool LoadAuthors()
    {
        var f = Network.Config;
        switch (Network.Network)
        {
            case OpenAiUNet unet when f.ClassName == "UNetModel(guided_diffusion)":
                LoadGuided(f, f, unet);
                return true;
            case GuidedPair pair:
                LoadGuided(f, f.GetOptionalObject("unet")!, pair.Network);
                return true;
            case Models.ConsistencyModel model:
                Denoiser = new OpenAiDenoiser(model.Network);
                Own = ConsistencySampling.Read(f);
                Classes = model.Config.Classes > 0 ? ClassNames.Load(Path, model.Config.Classes) : null;
                return true;
            case EdmPrecond network:
                Denoiser = LevelDenoiser.Of(network);
                Own = EdmSampling.Read(f, network.Config);
                Classes = Labels(network.Config.LabelChannels);
                return true;
            case IddpmPrecond network:
                Denoiser = LevelDenoiser.Of(network);
                Own = EdmSampling.Read(f, network.Config);
                Classes = Labels(network.Config.LabelChannels);
                return true;
            case Edm2Precond network:
                Denoiser = LevelDenoiser.Of(network);
                Own = EdmSampling.ReadMagnitudePreserving(f);
                Classes = Labels(network.Config.LabelChannels);
                return true;
            case Edm2Pair pair:
                Denoiser = new AutoGuidedDenoiser(LevelDenoiser.Of(pair.Network), LevelDenoiser.Of(pair.Guide));
                Own = EdmSampling.ReadMagnitudePreserving(f);
                Classes = Labels(pair.Network.Config.LabelChannels);
                return true;
            case ScoreUNet network:
                Denoiser = new ScoreDenoiser(network);
                Own = ScoreSampling.Read(f);
                return true;
            default:
                return false;
        }
    }

    private void LoadGuided(ConfigFile sampling, ConfigFile network, OpenAiUNet unet)
    {
        var own = GuidedDiffusion.Read(sampling, unet.Config);
        Denoiser = new OpenAiDenoiser(unet);
        Own = own;
        Scheduler = new SchedulerConfig
        {
            ClassName = "DDPMScheduler", TrainSteps = own.TrainSteps, BetaStart = 1e-4 * 1000 / own.TrainSteps, BetaEnd = 0.02 * 1000 / own.TrainSteps, BetaSchedule = own.Cosine ? "squaredcos_cap_v2" : "linear",
            VarianceType = own.LearnedVariance ? "learned_range" : own.SmallVariance ? "fixed_small" : "fixed_large", ClipSample = own.Clip,
        };
        Classes = unet.Config.Classes > 0 ? ClassNames.Load(Path, unet.Config.Classes) : null;
    }

    // The vector of zeros stands for no class.
    private ClassNames? Labels(int count) => count > 0 ? ClassNames.Load(Path, count, nullClass: count) : null;
}
