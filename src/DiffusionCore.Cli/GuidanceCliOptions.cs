using System.CommandLine;
using System.Globalization;
using DiffusionCore.Guidance;
using DiffusionCore.Pipelines;
using DiffusionCore.Runtime;
using DiffusionCore.Runtime.Passes;

namespace DiffusionCore.Cli;

/// <summary>The options of guidance, and what they ask for.</summary>
internal sealed class GuidanceCliOptions
{
    private const double Limit = 1000;

    private readonly Option<string?> guidance;
    private readonly Option<string?> interval = new("--guidance-interval") { Description = "Noise levels between which guidance is on: 0.3,5" };
    private readonly Option<double?> rescale = CliOptions.OptionalReal("--guidance-rescale", "Share of the guided prediction that keeps the conditional one's contrast; the authors use 0.7", 0, 1);
    private readonly Option<string?> threshold = new("--threshold") { Description = "Dynamic thresholding: share of |x0| that is not cut, and the largest threshold after a comma: 0.995,4" };
    private readonly Option<double?> apgNorm = CliOptions.OptionalReal("--apg-norm", "Adaptive projected guidance: largest norm of the difference between the branches; 0 for none", 0, 1e6);
    private readonly Option<double?> apgMomentum = CliOptions.OptionalReal("--apg-momentum", "Adaptive projected guidance: share of the last difference; the authors use -0.75 to -0.5", -1, 1);
    private readonly Option<double?> apgEta = CliOptions.OptionalReal("--apg-eta", "Adaptive projected guidance: share of the difference along the estimate (default 0)", -Limit, Limit);
    private readonly Option<double?> pag = CliOptions.OptionalReal("--pag", "Perturbed-attention guidance: scale; the authors use 3", -Limit, Limit);
    private readonly Option<string?> pagLayers = new("--pag-layers") { Description = "Layers whose self-attention is perturbed, by commas: mid_block, down_blocks.2, or numbers of transformer blocks (default the middle)" };
    private readonly Option<double?> slg = CliOptions.OptionalReal("--slg", "Skip-layer guidance: scale; 2.8 for Stable Diffusion 3.5", -Limit, Limit);
    private readonly Option<string?> slgLayers = new("--slg-layers") { Description = "Transformer blocks to leave out, by commas: numbers, or names as explain prints them (default the middle)" };
    private readonly Option<string?> thirdInterval = new("--pag-interval", "--slg-interval") { Description = "Noise levels between which --pag or --slg is on: 0.3,5" };

    /// <param name="defaultClass">Scale with a class.</param>
    /// <param name="defaultText">Scale with a text.</param>
    public GuidanceCliOptions(double defaultClass, double defaultText) =>
        guidance = new("--guidance")
        {
            Description = string.Create(CultureInfo.InvariantCulture, $"Classifier-free guidance; 1 is none. By step: 7.5,7,5 (the last stays), or a course: 7.5..2, 7.5..2:cosine. Without it {defaultClass} with a class, {defaultText} with a text"),
        };

    public IEnumerable<Option> All => [guidance, interval, rescale, threshold, apgNorm, apgMomentum, apgEta, pag, pagLayers, slg, slgLayers, thirdInterval];

    public bool IsGiven(ParseResult p) => p.GetValue(guidance) is not null;

    /// <summary>The guidance that the options ask for, with its scale and interval.</summary>
    /// <param name="fallback">The scale where none is given.</param>
    /// <exception cref="UsageException">A text that is no such thing, or a value out of range.</exception>
    public GuidanceOptions Read(ParseResult p, double fallback)
    {
        var options = Scales(p.GetValue(guidance), fallback) with
        {
            Interval = Interval(p.GetValue(interval), "--guidance-interval"),
            Rescale = p.GetValue(rescale) ?? 0,
            Threshold = Threshold(p.GetValue(threshold)),
            Perturbed = Perturbed(p),
            Projected = p.GetValue(apgNorm) is null && p.GetValue(apgMomentum) is null && p.GetValue(apgEta) is null ? null : new ProjectedGuidance(p.GetValue(apgNorm) ?? 0, p.GetValue(apgMomentum) ?? 0, p.GetValue(apgEta) ?? 0),
        };
        options.Check();
        return options;
    }

    /// <summary>The settings of guidance as a picture's parameters name them.</summary>
    public static string Described(GenerateRequest request)
    {
        var g = request.AllGuidance;
        var parts = new List<string> { $"CFG scale: {(g.Course is { } c ? Course(c) : g.Scales is { } list ? string.Join(' ', list.Select(w => w.ToString(CultureInfo.InvariantCulture))) : g.Scale.ToString(CultureInfo.InvariantCulture))}" };
        if (g.Interval is { } i) parts.Add(string.Create(CultureInfo.InvariantCulture, $"CFG interval: {i.Low} to {i.High}"));
        if (g.Rescale > 0) parts.Add(string.Create(CultureInfo.InvariantCulture, $"CFG rescale: {g.Rescale}"));
        if (g.Threshold is { } t) parts.Add(string.Create(CultureInfo.InvariantCulture, $"Dynamic threshold: {t.Ratio} up to {t.Maximum}"));
        if (g.Projected is { } apg) parts.Add(string.Create(CultureInfo.InvariantCulture, $"APG: norm {apg.Threshold} momentum {apg.Momentum} eta {apg.Parallel}"));
        if (g.Perturbed is { } third) parts.Add(string.Create(CultureInfo.InvariantCulture, $"{third.Name.ToUpperInvariant()}: {third.Scale}{(third.Layers.Count > 0 ? " in " + string.Join(' ', third.Layers) : "")}"));
        return string.Join(", ", parts);
    }

    private static string Course(GuidanceCourse c) => string.Create(CultureInfo.InvariantCulture, $"{c.From}..{c.To}{(c.Cosine ? ":cosine" : "")}");

    private static GuidanceOptions Scales(string? text, double fallback)
    {
        if (text is null) return new GuidanceOptions { Scale = fallback };
        int dots = text.IndexOf("..", StringComparison.Ordinal);
        if (dots > 0)
        {
            string end = text[(dots + 2)..];
            bool cosine = end.EndsWith(":cosine", StringComparison.Ordinal);
            return new GuidanceOptions { Course = new GuidanceCourse(Number(text[..dots]), Number(cosine ? end[..^":cosine".Length] : end), cosine) };
        }

        string[] parts = text.Split(',', StringSplitOptions.TrimEntries);
        return parts.Length == 1 ? new GuidanceOptions { Scale = Number(parts[0]) } : new GuidanceOptions { Scales = Array.ConvertAll(parts, Number) };

        static double Number(string part) =>
            double.TryParse(part, NumberStyles.Float, CultureInfo.InvariantCulture, out double v) && v >= -Limit && v <= Limit
                ? v
                : throw new UsageException(FormattableString.Invariant($"--guidance: expected a number from {-Limit} to {Limit}, several by commas, or a course such as 7.5..2, found '{part}'"));
    }

    private PerturbedGuidance? Perturbed(ParseResult p)
    {
        var between = Interval(p.GetValue(thirdInterval), "--pag-interval");
        if (p.GetValue(pag) is not null && p.GetValue(slg) is not null) throw new UsageException("--pag and --slg exclude each other: a run has one perturbed branch");
        if (p.GetValue(pag) is null && p.GetValue(pagLayers) is not null) throw new UsageException("--pag-layers: give --pag SCALE with it");
        if (p.GetValue(slg) is null && p.GetValue(slgLayers) is not null) throw new UsageException("--slg-layers: give --slg SCALE with it");
        if ((p.GetValue(pag) ?? p.GetValue(slg)) is not { } scale) return between is null ? null : throw new UsageException("--pag-interval: give --pag or --slg with it");
        string? layers = p.GetValue(pagLayers) ?? p.GetValue(slgLayers);
        var third = new PerturbedGuidance(p.GetValue(pag) is not null ? Perturbation.Attention : Perturbation.Skip, scale, layers?.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries) ?? []);
        return third with { Interval = between };
    }

    private static (double, double)? Interval(string? text, string option)
    {
        if (CliLists.Numbers(text, option) is not { } between) return null;
        return between.Length == 2 ? (between[0], between[1]) : throw new UsageException($"{option}: expected two noise levels such as 0.3,5, found {between.Length}");
    }

    private static (double, double)? Threshold(string? text)
    {
        if (CliLists.Numbers(text, "--threshold") is not { } v) return null;
        return v.Length is 1 or 2 ? (v[0], v.Length == 2 ? v[1] : double.MaxValue) : throw new UsageException($"--threshold: expected a share and a maximum such as 0.995,4, found {v.Length} numbers");
    }
}
