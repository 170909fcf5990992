using System.Globalization;
using DiffusionCore.Samplers;

namespace DiffusionCore.Cli;

/// <summary>Noise levels of several runs over their evaluations as an SVG picture: sigma on a logarithmic axis, and log-SNR = -2 ln sigma.</summary>
internal static class SchedulePlot
{
    private const int Width = 900, PanelHeight = 300, Left = 70, Right = 20, Top = 30, Gap = 60, LegendLine = 18;

    public static string Svg(IReadOnlyList<(string Label, SamplerPlan Plan)> plans)
    {
        var curves = plans.Select(p => (p.Label, Levels: Levels(p.Plan))).Where(c => c.Levels.Length > 0).ToList();
        double low = curves.Count == 0 ? 0.1 : curves.Min(c => c.Levels.Min()), high = curves.Count == 0 ? 10 : curves.Max(c => c.Levels.Max());
        if (low == high) high = 2 * low;
        int height = Top + 2 * PanelHeight + 2 * Gap + LegendLine * curves.Count;
        var svg = new SvgPicture(Width, height);
        int most = curves.Count == 0 ? 2 : Math.Max(2, curves.Max(c => c.Levels.Length));
        Panel(svg, Top, "sigma", Math.Log10(low), Math.Log10(high), most, v => string.Create(CultureInfo.InvariantCulture, $"{Math.Pow(10, v):G3}"), curves, Math.Log10);
        Panel(svg, Top + PanelHeight + Gap, "log-SNR (nats)", -2 * Math.Log(high), -2 * Math.Log(low), most, v => string.Create(CultureInfo.InvariantCulture, $"{v:G3}"), curves, s => -2 * Math.Log(s));
        for (int i = 0; i < curves.Count; i++)
        {
            int y = Top + 2 * PanelHeight + Gap + 40 + i * LegendLine;
            svg.Line($"<line x1=\"{Left}\" y1=\"{y - 4}\" x2=\"{Left + 30}\" y2=\"{y - 4}\" stroke=\"{SvgPicture.Colour(i)}\" stroke-width=\"2\"/>");
            svg.Line($"<text x=\"{Left + 38}\" y=\"{y}\">{SvgPicture.Escape(curves[i].Label)} ({curves[i].Levels.Length} evaluations)</text>");
        }

        return svg.Finish();
    }

    // What the network sees; an adaptive run tells its ends only.
    private static double[] Levels(SamplerPlan plan)
    {
        double[] seen = [.. plan.Evaluations.Where(e => e.Evaluates).Select(e => e.Level)];
        return [.. (seen.Length > 0 ? seen : plan.Sigmas ?? []).Where(s => s > 0 && double.IsFinite(s))];
    }

    private static void Panel(
        SvgPicture svg, int top, string title, double low, double high, int most, Func<double, string> label, List<(string Label, double[] Levels)> curves, Func<double, double> value)
    {
        const int Ticks = 6;
        int right = Width - Right, bottom = top + PanelHeight;
        svg.Line($"<rect x=\"{Left}\" y=\"{top}\" width=\"{right - Left}\" height=\"{PanelHeight}\" fill=\"none\" stroke=\"#444\"/>");
        svg.Line($"<text x=\"{Left}\" y=\"{top - 8}\" font-weight=\"bold\">{title}</text>");
        for (int i = 0; i < Ticks; i++)
        {
            double v = low + (high - low) * i / (Ticks - 1), y = Y(v);
            svg.Line($"<line x1=\"{Left}\" y1=\"{y:F1}\" x2=\"{right}\" y2=\"{y:F1}\" stroke=\"#ddd\"/>");
            svg.Line($"<text x=\"{Left - 6}\" y=\"{y + 4:F1}\" text-anchor=\"end\">{label(v)}</text>");
        }

        for (int i = 0; i < Ticks; i++)
        {
            int at = (int)Math.Round((most - 1) * (double)i / (Ticks - 1));
            svg.Line($"<text x=\"{X(at):F1}\" y=\"{bottom + 16}\" text-anchor=\"middle\">{at}</text>");
        }

        svg.Line($"<text x=\"{(Left + right) / 2}\" y=\"{bottom + 32}\" text-anchor=\"middle\">evaluation</text>");
        for (int c = 0; c < curves.Count; c++)
        {
            var points = curves[c].Levels.Select((s, i) => string.Create(CultureInfo.InvariantCulture, $"{X(i):F1},{Y(value(s)):F1}"));
            svg.Line($"<polyline points=\"{string.Join(' ', points)}\" fill=\"none\" stroke=\"{SvgPicture.Colour(c)}\" stroke-width=\"1.5\"/>");
        }

        double X(int i) => Left + (right - Left) * (double)i / (most - 1);
        double Y(double v) => bottom - PanelHeight * (v - low) / (high - low);
    }
}
