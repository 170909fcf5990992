using System.CommandLine;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;

namespace DiffusionCore.Cli;

/// <summary>The options of samplers that generate and schedule share, and what they ask for.</summary>
internal sealed class SamplerCliOptions
{
    private readonly Option<int?> order = new("--order") { Description = "Order of a multistep solver that has one to choose" };
    private readonly Option<double?> shift = CliOptions.OptionalReal("--snr-shift", "Multiplies the noise levels, as for images of another size; levels stop at the model's own", 1e-3, 1e3);
    private readonly Option<int?> jumpLength = new("--jump-length") { Description = "RePaint: steps that each jump goes back (default 10)" };
    private readonly Option<int?> jumpSamples = new("--jump-samples") { Description = "RePaint: how often each stretch is sampled (default 10)" };

    public IEnumerable<Option> All => [order, shift, jumpLength, jumpSamples];

    /// <summary>Options with these in them.</summary>
    /// <exception cref="UsageException">Jumps for a sampler that has none.</exception>
    public SamplerOptions Add(ParseResult p, SamplerOptions options, string? sampler)
    {
        if ((p.GetValue(jumpLength) ?? p.GetValue(jumpSamples)) is not null && (sampler is null || !Sampler.FillsImages(sampler))) throw new UsageException("--jump-length, --jump-samples: they belong to the sampler repaint");
        return options with
        {
            SolverOrder = p.GetValue(order),
            SnrShift = p.GetValue(shift),
            JumpLength = p.GetValue(jumpLength) ?? options.JumpLength,
            JumpSamples = p.GetValue(jumpSamples) ?? options.JumpSamples,
        };
    }

    /// <summary>Type of the latents between steps.</summary>
    public static DType State(string name) => name switch
    {
        "f32" => DType.F32,
        "f64" => DType.F64,
        _ => throw new UsageException($"--state: expected f32 or f64, found '{name}'"),
    };
}
