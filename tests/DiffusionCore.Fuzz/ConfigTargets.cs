using System.Text.Json;
using DiffusionCore.Json;
using DiffusionCore.Models;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;

namespace DiffusionCore.Fuzz;

/// <summary>A JSON configuration: whatever is accepted reads the same after the file was written again by another writer, its keys in another order.</summary>
public abstract class ConfigTarget<T> : FuzzTarget
    where T : notnull
{
    protected abstract string[] Seeds { get; }

    public override byte[] Make(Draw draw) => JsonMutator.Damage(draw.Of(Seeds), draw);

    public override object Parse(byte[] input) => Read(ConfigFile.Parse("config.json", input));

    public override void RoundTrip(byte[] input, object parsed)
    {
        byte[] text = input.AsSpan().StartsWith("\uFEFF"u8) ? input[3..] : input;
        using var document = JsonDocument.Parse(text);
        using var stream = new MemoryStream();
        using (var writer = new Utf8JsonWriter(stream, new JsonWriterOptions { Indented = true }))
        {
            writer.WriteStartObject();
            foreach (var property in document.RootElement.EnumerateObject().Reverse()) property.WriteTo(writer);
            writer.WriteEndObject();
        }

        string before = Describe((T)parsed), after = Describe((T)Parse(stream.ToArray()));
        if (before != after) throw new RoundTripException($"{before} became {after}");
        Use((T)parsed);
    }

    protected abstract T Read(ConfigFile file);

    /// <summary>All fields as text.</summary>
    protected abstract string Describe(T config);

    /// <summary>What the product does next with an accepted configuration; it may refuse with a typed error only.</summary>
    protected virtual void Use(T config)
    {
    }
}

/// <summary>config.json of a UNet2DModel.</summary>
public sealed class NetworkConfigTarget : ConfigTarget<UNet2DConfig>
{
    public override string Name => "config";

    protected override string[] Seeds { get; } =
    [
        """{"_class_name":"UNet2DModel","sample_size":32,"in_channels":1,"out_channels":1,"block_out_channels":[32,64],"layers_per_block":1,"norm_num_groups":4,"attention_head_dim":4,"down_block_types":["DownBlock2D","AttnDownBlock2D"],"up_block_types":["AttnUpBlock2D","UpBlock2D"],"num_class_embeds":11}""",
        """{"sample_size":[8,16],"center_input_sample":false,"time_embedding_type":"fourier","freq_shift":0,"flip_sin_to_cos":true,"down_block_types":["SkipDownBlock2D","AttnSkipDownBlock2D"],"up_block_types":["AttnSkipUpBlock2D","SkipUpBlock2D"],"block_out_channels":[32,64],"mid_block_scale_factor":1.4142135,"downsample_padding":1,"act_fn":"silu","norm_eps":1e-05,"resnet_time_scale_shift":"default","add_attention":true,"class_embed_type":null}""",
        """{"_class_name": "UNet2DModel", "time_embedding_type": "learned", "num_train_timesteps": 1000, "block_out_channels": [8], "norm_num_groups": 8, "down_block_types": ["ResnetDownsampleBlock2D"], "up_block_types": ["ResnetUpsampleBlock2D"], "mid_block_type": null, "downsample_type": "resnet", "upsample_type": "resnet", "attn_norm_num_groups": 2, "extra": {"a": [1, 2.5, "x"]}}""",
        "{}",
    ];

    protected override UNet2DConfig Read(ConfigFile file)
    {
        _ = file.ClassName;
        return UNet2DConfig.Read(file);
    }

    protected override string Describe(UNet2DConfig c) =>
        (c with { DownBlocks = [], UpBlocks = [], BlockOutChannels = [] }) + string.Join<BlockKind>(';', [.. c.DownBlocks, .. c.UpBlocks]) + string.Join(',', c.BlockOutChannels);
}

/// <summary>scheduler_config.json, and the sampler that is planned from it.</summary>
public sealed class SchedulerConfigTarget : ConfigTarget<SchedulerConfig>
{
    private const int PlannedTrainSteps = 2000;

    public override string Name => "scheduler";

    protected override string[] Seeds { get; } =
    [
        """{"_class_name":"DDPMScheduler","num_train_timesteps":1000,"beta_start":0.0001,"beta_end":0.02,"beta_schedule":"linear","variance_type":"fixed_small","clip_sample":true,"clip_sample_range":1.0,"prediction_type":"epsilon"}""",
        """{"_class_name":"DDIMScheduler","num_train_timesteps":100,"beta_schedule":"scaled_linear","beta_start":0.00085,"beta_end":0.012,"set_alpha_to_one":false,"steps_offset":1,"timestep_spacing":"leading","prediction_type":"v_prediction","rescale_betas_zero_snr":true,"thresholding":false,"clip_sample":false}""",
        """{"_class_name":"EulerDiscreteScheduler","num_train_timesteps":50,"use_karras_sigmas":true,"sigma_min":0.01,"sigma_max":12.5,"interpolation_type":"linear","timestep_type":"discrete","final_sigmas_type":"zero","trained_betas":null,"timestep_spacing":"linspace"}""",
        """{"_class_name":"DPMSolverMultistepScheduler","num_train_timesteps":1000,"solver_order":2,"algorithm_type":"dpmsolver++","solver_type":"midpoint","lower_order_final":true,"euler_at_final":false,"lambda_min_clipped":"-inf","use_lu_lambdas":false,"timestep_spacing":"trailing","dynamic_thresholding_ratio":0.995,"sample_max_value":1.0}""",
        """{"_class_name":"HeunDiscreteScheduler","num_train_timesteps":4,"trained_betas":[0.1,0.2,0.3,0.4],"prediction_type":"sample","use_beta_sigmas":false,"use_exponential_sigmas":true}""",
    ];

    protected override SchedulerConfig Read(ConfigFile file) => SchedulerConfig.Read(file);

    protected override string Describe(SchedulerConfig c) => (c with { TrainedBetas = null }) + string.Join(',', c.TrainedBetas ?? []);

    protected override void Use(SchedulerConfig config)
    {
        if (config.TrainSteps > PlannedTrainSteps) return;
        SamplerPlan plan;
        try
        {
            plan = Sampler.Plan(config, new SamplerOptions { Steps = Math.Min(3, config.TrainSteps) });
        }
        catch (DiffusionCoreException)
        {
            return;
        }

        foreach (var e in plan.Evaluations)
            if (!double.IsFinite(e.X + e.D + e.E + e.N + e.Time + e.InputScale)) throw new RoundTripException($"step {e.Step} of {plan.Name} is not finite: {e}");
    }
}
