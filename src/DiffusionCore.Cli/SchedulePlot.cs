using System.Globalization;
using System.Text;
using DiffusionCore.Samplers;

namespace DiffusionCore.Cli;

/// <summary>Noise levels of several runs over their evaluations as an SVG picture: sigma on a logarithmic axis, and log-SNR = -2 ln sigma.</summary>
internal static class SchedulePlot
{
    private const int Width = 900, PanelHeight = 300, Left = 70, Right = 20, Top = 30, Gap = 60, LegendLine = 18;

    private static readonly string[] Colours = ["#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22"];

    /// <summary>Noise level sigma/alpha that an evaluation sees.</summary>
    public static double Level(Evaluation e) => e.Alpha == 0 ? double.PositiveInfinity : e.Sigma / e.Alpha;

    public static string Svg(IReadOnlyList<(string Label, SamplerPlan Plan)> plans)
    {
        var curves = plans.Select(p => (p.Label, Levels: Levels(p.Plan))).Where(c => c.Levels.Length > 0).ToList();
        double low = curves.Count == 0 ? 0.1 : curves.Min(c => c.Levels.Min()), high = curves.Count == 0 ? 10 : curves.Max(c => c.Levels.Max());
        if (low == high) high = 2 * low;
        int height = Top + 2 * PanelHeight + 2 * Gap + LegendLine * curves.Count;
        var svg = new StringBuilder();
        Line(svg, $"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{Width}\" height=\"{height}\" viewBox=\"0 0 {Width} {height}\" font-family=\"sans-serif\" font-size=\"12\">");
        Line(svg, $"<rect width=\"{Width}\" height=\"{height}\" fill=\"white\"/>");
        int most = curves.Count == 0 ? 2 : Math.Max(2, curves.Max(c => c.Levels.Length));
        Panel(svg, Top, "sigma", Math.Log10(low), Math.Log10(high), most, v => string.Create(CultureInfo.InvariantCulture, $"{Math.Pow(10, v):G3}"), curves, Math.Log10);
        Panel(svg, Top + PanelHeight + Gap, "log-SNR (nats)", -2 * Math.Log(high), -2 * Math.Log(low), most, v => string.Create(CultureInfo.InvariantCulture, $"{v:G3}"), curves, s => -2 * Math.Log(s));
        for (int i = 0; i < curves.Count; i++)
        {
            int y = Top + 2 * PanelHeight + Gap + 40 + i * LegendLine;
            Line(svg, $"<line x1=\"{Left}\" y1=\"{y - 4}\" x2=\"{Left + 30}\" y2=\"{y - 4}\" stroke=\"{Colours[i % Colours.Length]}\" stroke-width=\"2\"/>");
            Line(svg, $"<text x=\"{Left + 38}\" y=\"{y}\">{Escape(curves[i].Label)} ({curves[i].Levels.Length} evaluations)</text>");
        }

        svg.Append("</svg>\n");
        return svg.ToString();
    }

    // What the network sees; an adaptive run tells its ends only.
    private static double[] Levels(SamplerPlan plan)
    {
        double[] seen = [.. plan.Evaluations.Where(e => e.Evaluates).Select(Level)];
        return [.. (seen.Length > 0 ? seen : plan.Sigmas ?? []).Where(s => s > 0 && double.IsFinite(s))];
    }

    private static void Panel(
        StringBuilder svg, int top, string title, double low, double high, int most, Func<double, string> label, List<(string Label, double[] Levels)> curves, Func<double, double> value)
    {
        const int Ticks = 6;
        int right = Width - Right, bottom = top + PanelHeight;
        Line(svg, $"<rect x=\"{Left}\" y=\"{top}\" width=\"{right - Left}\" height=\"{PanelHeight}\" fill=\"none\" stroke=\"#444\"/>");
        Line(svg, $"<text x=\"{Left}\" y=\"{top - 8}\" font-weight=\"bold\">{title}</text>");
        for (int i = 0; i < Ticks; i++)
        {
            double v = low + (high - low) * i / (Ticks - 1), y = Y(v);
            Line(svg, $"<line x1=\"{Left}\" y1=\"{y:F1}\" x2=\"{right}\" y2=\"{y:F1}\" stroke=\"#ddd\"/>");
            Line(svg, $"<text x=\"{Left - 6}\" y=\"{y + 4:F1}\" text-anchor=\"end\">{label(v)}</text>");
        }

        for (int i = 0; i < Ticks; i++)
        {
            int at = (int)Math.Round((most - 1) * (double)i / (Ticks - 1));
            Line(svg, $"<text x=\"{X(at):F1}\" y=\"{bottom + 16}\" text-anchor=\"middle\">{at}</text>");
        }

        Line(svg, $"<text x=\"{(Left + right) / 2}\" y=\"{bottom + 32}\" text-anchor=\"middle\">evaluation</text>");
        for (int c = 0; c < curves.Count; c++)
        {
            var points = curves[c].Levels.Select((s, i) => string.Create(CultureInfo.InvariantCulture, $"{X(i):F1},{Y(value(s)):F1}"));
            Line(svg, $"<polyline points=\"{string.Join(' ', points)}\" fill=\"none\" stroke=\"{Colours[c % Colours.Length]}\" stroke-width=\"1.5\"/>");
        }

        double X(int i) => Left + (right - Left) * (double)i / (most - 1);
        double Y(double v) => bottom - PanelHeight * (v - low) / (high - low);
    }

    private static void Line(StringBuilder svg, FormattableString text) => svg.Append(FormattableString.Invariant(text)).Append('\n');

    private static string Escape(string text) => text.Replace("&", "&amp;", StringComparison.Ordinal).Replace("<", "&lt;", StringComparison.Ordinal);
}
