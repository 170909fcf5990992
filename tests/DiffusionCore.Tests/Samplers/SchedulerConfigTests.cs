using DiffusionCore.Runtime;
using DiffusionCore.Samplers;

namespace DiffusionCore.Tests.Samplers;

/// <summary>Configurations and options that cannot be used are refused with an error that names the field, what was expected and what was found.</summary>
public sealed class SchedulerConfigTests
{
    [Theory]
    [InlineData("""{"_class_name": "EulerDiscretScheduler"}""", "_class_name", "did you mean 'EulerDiscreteScheduler'")]
    [InlineData("""{"_class_name": "VQDiffusionScheduler"}""", "_class_name", "is not supported")]
    [InlineData("""{"_class_name": "FlowMatchLCMScheduler", "scale_factors": [0.5]}""", "scale_factors", "keep their size")]
    [InlineData("""{"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 0}""", "shift", "a positive number")]
    [InlineData("""{"_class_name": "FlowMatchEulerDiscreteScheduler", "time_shift_type": "cubic"}""", "time_shift_type", "'cubic' is not supported")]
    [InlineData("""{"_class_name": "UniPCMultistepScheduler", "disable_corrector": [-1]}""", "disable_corrector[0]", "found -1")]
    [InlineData("""{"_class_name": "SASolverScheduler", "corrector_order": 5}""", "corrector_order", "from 1 to 4, found 5")]
    [InlineData("""{"_class_name": "LCMScheduler", "original_inference_steps": 2000}""", "original_inference_steps", "found 2000")]
    [InlineData("""{"_class_name": "EDMEulerScheduler", "sigma_schedule": "beta"}""", "sigma_schedule", "'beta' is not supported")]
    [InlineData("""{}""", "_class_name", "expected a string, found nothing")]
    [InlineData("""{"_class_name": 5}""", "_class_name", "expected a string, found 5")]
    [InlineData("""{"_class_name": "DDPMScheduler", "num_train_timesteps": 0}""", "num_train_timesteps", "from 1 to 1000000, found 0")]
    [InlineData("""{"_class_name": "DDPMScheduler", "num_train_timesteps": 1000001}""", "num_train_timesteps", "found 1000001")]
    [InlineData("""{"_class_name": "DDPMScheduler", "num_train_timesteps": "1000"}""", "num_train_timesteps", "found \"1000\"")]
    [InlineData("""{"_class_name": "DDPMScheduler", "num_train_timesteps": 10.5}""", "num_train_timesteps", "found 10.5")]
    [InlineData("""{"_class_name": "DDPMScheduler", "beta_start": 0}""", "beta_start", "between 0 and 1")]
    [InlineData("""{"_class_name": "DDPMScheduler", "beta_end": 1}""", "beta_end", "between 0 and 1")]
    [InlineData("""{"_class_name": "DDPMScheduler", "beta_end": "inf"}""", "beta_end", "between 0 and 1")]
    [InlineData("""{"_class_name": "DDPMScheduler", "beta_end": -0.1}""", "beta_end", "found -0.1")]
    [InlineData("""{"_class_name": "DDPMScheduler", "beta_schedule": "scaled_liner"}""", "beta_schedule", "did you mean 'scaled_linear'")]
    [InlineData("""{"_class_name": "DDPMScheduler", "prediction_type": "v_predicton"}""", "prediction_type", "did you mean 'v_prediction'")]
    [InlineData("""{"_class_name": "DDPMScheduler", "timestep_spacing": "trailling"}""", "timestep_spacing", "did you mean 'trailing'")]
    [InlineData("""{"_class_name": "DDPMScheduler", "variance_type": "fixed_smal"}""", "variance_type", "did you mean 'fixed_small'")]
    [InlineData("""{"_class_name": "DDPMScheduler", "clip_sample": 1}""", "clip_sample", "true or false")]
    [InlineData("""{"_class_name": "DDPMScheduler", "clip_sample_range": 0}""", "clip_sample_range", "a positive number")]
    [InlineData("""{"_class_name": "DDPMScheduler", "dynamic_thresholding_ratio": 1.5}""", "dynamic_thresholding_ratio", "found 1.5")]
    [InlineData("""{"_class_name": "DDPMScheduler", "trained_betas": [0.1, 0.2]}""", "trained_betas", "expected 1000 numbers")]
    [InlineData("""{"_class_name": "DDPMScheduler", "trained_betas": [0.1, 2], "num_train_timesteps": 2}""", "trained_betas[1]", "found 2")]
    [InlineData("""{"_class_name": "DDPMScheduler", "steps_offset": -1}""", "steps_offset", "found -1")]
    [InlineData("""{"_class_name": "EulerDiscreteScheduler", "use_karras_sigmas": true, "use_beta_sigmas": true}""", "use_beta_sigmas", "cannot be combined")]
    [InlineData("""{"_class_name": "EulerDiscreteScheduler", "final_sigmas_type": "one"}""", "final_sigmas_type", "'one' is not supported")]
    [InlineData("""{"_class_name": "EulerDiscreteScheduler", "sigma_min": 2, "sigma_max": 1}""", "sigma_min", "less than sigma_max")]
    [InlineData("""{"_class_name": "DPMSolverMultistepScheduler", "solver_order": 4}""", "solver_order", "from 1 to 3, found 4")]
    [InlineData("""{"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "dpmsolver+++"}""", "algorithm_type", "did you mean 'dpmsolver++'")]
    [InlineData("""{"_class_name": "DPMSolverMultistepScheduler", "use_flow_sigmas": true, "use_beta_sigmas": true}""", "use_flow_sigmas", "cannot be combined")]
    public void A_bad_field_is_named(string json, string field, string problem)
    {
        var e = Assert.Throws<ModelFileException>(() => SchedulerCase.ReadConfig(json));
        Assert.Equal(("scheduler_config.json", field), (e.File, e.Item));
        Assert.Contains(problem, e.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', e.Message);
    }

    [Theory]
    [InlineData("""{"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "dpmsolver"}""", "final_sigmas_type")]
    [InlineData("""{"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "sde-dpmsolver", "final_sigmas_type": "sigma_min", "solver_order": 3}""", "solver_order")]
    [InlineData("""{"_class_name": "DDPMScheduler", "variance_type": "fixed_large_log"}""", "variance_type")]
    [InlineData("""{"_class_name": "PNDMScheduler", "prediction_type": "sample"}""", "prediction_type")]
    [InlineData("""{"_class_name": "UniPCMultistepScheduler", "predict_x0": false}""", "final_sigmas_type")]
    [InlineData("""{"_class_name": "UniPCMultistepScheduler", "solver_type": "bh1"}""", "final_sigmas_type")]
    [InlineData("""{"_class_name": "UniPCMultistepScheduler", "lower_order_final": false}""", "lower_order_final")]
    [InlineData("""{"_class_name": "DPMSolverSinglestepScheduler", "algorithm_type": "dpmsolver"}""", "final_sigmas_type")]
    [InlineData("""{"_class_name": "DPMSolverSinglestepScheduler", "algorithm_type": "sde-dpmsolver", "final_sigmas_type": "sigma_min"}""", "algorithm_type")]
    [InlineData("""{"_class_name": "DPMSolverMultistepInverseScheduler", "algorithm_type": "sde-dpmsolver++"}""", "algorithm_type")]
    [InlineData("""{"_class_name": "DDIMInverseScheduler", "prediction_type": "sample"}""", "set_alpha_to_one")]
    [InlineData("""{"_class_name": "SASolverScheduler", "predictor_order": 4}""", "predictor_order")]
    public void A_file_that_cannot_be_sampled_as_it_says_is_named(string json, string field)
    {
        var config = SchedulerCase.ReadConfig(json);
        Assert.Equal(field, Assert.Throws<ModelFileException>(() => Sampler.Plan(config, new SamplerOptions { Steps = 10 })).Item);
        Sampler.Plan(config, new SamplerOptions { Steps = 10 }, "euler");
    }

    [Fact]
    public void Options_that_do_not_fit_are_usage_errors()
    {
        Refused("steps: expected 1 to 1000", new SamplerOptions { Steps = 0 });
        Refused("found 1001", new SamplerOptions { Steps = 1001 });
        Refused("eta: expected a number from 0 to 1", new SamplerOptions { Eta = 1.5 }, "ddim");
        Refused("eta: expected a number from 0 to 1", new SamplerOptions { Eta = double.NaN }, "ddim");
        Refused("it belongs to ddim, tcd", new SamplerOptions { Eta = 0.5 }, "euler");
        Refused("no step is left", new SamplerOptions { Steps = 10, SkipSteps = 10 });
        Refused("skipped steps: expected 0 or more", new SamplerOptions { SkipSteps = -1 });
        Refused("did you mean 'euler'", new(), "eular");
        Refused("did you mean 'karras'", new(), "euler", "karas");
        Refused("places noise levels", new(), "ddpm", "karras");
        Refused("exclude each other", new SamplerOptions { Timesteps = [9, 5, 0] }, "euler", "karras");
        Refused("exclude each other", new SamplerOptions { Timesteps = [9, 5, 0], Sigmas = [2, 1] }, "euler");
        Refused("does not fall below", new SamplerOptions { Timesteps = [5, 9] });
        Refused("timesteps[0]: expected a number from 0 to 999, found 1000", new SamplerOptions { Timesteps = [1000, 9] });
        Refused("is not one of the 1000 training steps", new SamplerOptions { Timesteps = [9.5, 3] });
        Refused("the list is empty", new SamplerOptions { Timesteps = [] });
        Refused("expected at least 2", new SamplerOptions { Sigmas = [1] }, "euler");
        Refused("sigmas[1]: expected a number from 0", new SamplerOptions { Sigmas = [1, double.NaN] }, "euler");
        Refused("works on training steps", new SamplerOptions { Sigmas = [2, 1] }, "ddim");
        Refused("churn: expected 0 or more", new SamplerOptions { Churn = -1 }, "euler");
        // 1000 // (1000 + 1) = 0: every step would be the same.
        Refused("two steps may share a noise level", new SamplerOptions { Steps = 1000 }, "dpmpp_2m", "leading");

        static void Refused(string problem, SamplerOptions options, string name = "ddpm", string? schedule = null)
        {
            var e = Assert.Throws<UsageException>(() => Sampler.Plan(new SchedulerConfig(), options, name, schedule));
            Assert.Contains(problem, e.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void A_leading_offset_that_runs_out_of_the_training_steps_is_refused() =>
        Assert.Contains("timestep 1000", Assert.Throws<UsageException>(() => Sampler.Plan(new SchedulerConfig { StepsOffset = 1 }, new SamplerOptions { Steps = 1000 }, "ddim")).Message, StringComparison.Ordinal);

    /// <summary>Found by the fuzzer: two training steps share a noise level, and the time between them was 0/0.</summary>
    [Theory]
    [InlineData("heun")]
    [InlineData("euler")]
    [InlineData("dpmpp_2m")]
    public void A_beta_too_small_to_move_the_noise_level_gives_finite_times(string sampler)
    {
        var config = new SchedulerConfig { TrainSteps = 4, TrainedBetas = [0.1, 0.2, 0.3, 5e-183], SigmaSchedule = "exponential" };
        Assert.All(Sampler.Plan(config, new SamplerOptions { Steps = 3 }, sampler).Evaluations, e => Assert.True(double.IsFinite(e.Time)));
    }

    /// <summary>Found by the fuzzer: the time of a noise level was looked for between two training steps.</summary>
    [Theory]
    [InlineData("euler", "karras")]
    [InlineData("euler", "exponential")]
    [InlineData("KDPM2DiscreteScheduler", "karras")]
    public void A_training_of_one_step_can_be_sampled(string sampler, string schedule)
    {
        var plan = Sampler.Plan(new SchedulerConfig { TrainSteps = 1, SigmaMin = 0.01, SigmaMax = 12.5 }, new SamplerOptions { Steps = 1 }, sampler, schedule);
        Assert.All(plan.Evaluations, e => Assert.Equal(0, e.Time));
    }

    [Fact]
    public void An_eps_network_cannot_start_where_the_signal_is_zero()
    {
        var config = new SchedulerConfig { ZeroTerminalSnr = true, Spacing = "trailing" };
        Assert.Throws<UsageException>(() => Sampler.Plan(config, new SamplerOptions { Steps = 10 }, "ddim"));
        Assert.Equal(0, Sampler.Plan(config with { Prediction = Prediction.V }, new SamplerOptions { Steps = 10 }, "ddim").Evaluations[0].Alpha);
        Sampler.Plan(config, new SamplerOptions { Steps = 10 }, "ddim", "leading");
    }

    [Theory]
    [InlineData("DDIM", "ddim")]
    [InlineData("k_euler", "euler")]
    [InlineData("Euler", "euler")]
    [InlineData("DPM++ 2M", "dpmpp_2m")]
    [InlineData("dpm++2m karras", "dpmpp_2m")]
    [InlineData("DPM++ 2M Karras", "dpmpp_2m")]
    [InlineData("dpmpp_2m_karras", "dpmpp_2m")]
    [InlineData("DPMSolverMultistepScheduler", "dpmpp_2m")]
    [InlineData("DPMSolver++", "dpmpp_2m")]
    [InlineData("HeunDiscreteScheduler", "heun")]
    [InlineData("DDIMParallelScheduler", "ddim")]
    [InlineData("Euler a", "euler_ancestral")]
    [InlineData("euler_a", "euler_ancestral")]
    [InlineData("k_euler_ancestral", "euler_ancestral")]
    [InlineData("LMS Karras", "lms")]
    [InlineData("PLMS", "plms")]
    [InlineData("UniPC", "unipc")]
    [InlineData("uni_pc_bh2", "unipc")]
    [InlineData("DEIS", "deis")]
    [InlineData("SA-Solver", "sa_solver")]
    [InlineData("LCM", "lcm")]
    [InlineData("TCD", "tcd")]
    [InlineData("PNDMScheduler", "pndm")]
    [InlineData("DPMSolverSinglestepScheduler", "dpmsolver++-2s")]
    [InlineData("KDPM2AncestralDiscreteScheduler", "kdpm2_ancestral")]
    public void Names_of_other_programs_are_known(string typed, string name) => Assert.Equal(name, Sampler.Plan(new SchedulerConfig(), new SamplerOptions { Steps = 8 }, typed).Name);

    [Fact]
    public void Every_class_can_be_named()
    {
        foreach (string name in SchedulerConfig.Classes) Assert.NotEmpty(Sampler.Plan(new SchedulerConfig(), new SamplerOptions { Steps = 10, Shift = 1 }, name).Evaluations);
        Assert.Equal(33, SchedulerConfig.Classes.Length);
    }

    [Fact]
    public void A_schedule_in_the_name_is_the_schedule()
    {
        var options = new SamplerOptions { Steps = 8 };
        var named = Sampler.Plan(new SchedulerConfig(), options, "DPM++ 2M Karras");
        Assert.Equal(Sampler.Plan(new SchedulerConfig(), options, "dpmpp_2m", "karras").Sigmas, named.Sigmas);
        Assert.NotEqual(Sampler.Plan(new SchedulerConfig(), options, "dpmpp_2m").Sigmas, named.Sigmas);
    }

    [Fact]
    public void Another_sampler_takes_the_betas_and_the_prediction_of_the_file()
    {
        var config = SchedulerCase.ReadConfig("""
            {"_class_name": "PNDMScheduler", "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "prediction_type": "v_prediction", "skip_prk_steps": true, "unknown": [1]}
            """);
        var plan = Sampler.Plan(config, new SamplerOptions { Steps = 20 }, "euler");
        Assert.Equal(Prediction.V, plan.Prediction);
        Assert.Equal(14.614646, plan.InitialSigma, 1e-5);
    }

    [Fact]
    public void What_the_file_leaves_open_is_the_way_of_the_class()
    {
        var open = SchedulerCase.ReadConfig("""{"_class_name": "DDPMScheduler"}""");
        Assert.Equal(1, Sampler.Plan(open, new SamplerOptions { Steps = 10 }).Clip);
        Assert.Equal(900, Sampler.Plan(open, new SamplerOptions { Steps = 10 }).Timesteps[0]);
        Assert.Equal(999, Sampler.Plan(open, new SamplerOptions { Steps = 10 }, "euler").Timesteps[0]);
        Assert.Equal(double.PositiveInfinity, Sampler.Plan(open, new SamplerOptions { Steps = 10 }, "heun").Clip);
        Assert.Equal(1, Sampler.Plan(open with { ClipSample = true }, new SamplerOptions { Steps = 10 }, "heun").Clip);
        Assert.Equal(900, Sampler.Plan(open with { Spacing = "leading" }, new SamplerOptions { Steps = 10 }, "euler").Timesteps[0]);
    }

    [Theory]
    [InlineData(0, 0.9999)]
    [InlineData(500, 0.077797)]
    [InlineData(999, 4.0358e-5)]
    public void The_table_of_ddpm_has_its_published_values(int step, double alphaBar) =>
        Assert.Equal(1, NoiseSchedule.Build(new SchedulerConfig(), finiteSigmas: false).AlphaBar[step] / alphaBar, 1e-5);
}
