using System.Globalization;

namespace DiffusionCore.Cli;

/// <summary>Distance over seconds per image as an SVG picture, both axes logarithmic: a line per sampler, the Pareto front dashed and ringed.</summary>
internal static class FrechetPlot
{
    private const int Width = 900, Height = 560, Left = 70, Right = 190, Top = 40, Bottom = 60, LegendLine = 18;

    public static string Svg(IReadOnlyList<FrechetCell> cells)
    {
        var (fast, slow) = Range(cells.Select(c => c.Seconds));
        var (near, far) = Range(cells.Select(c => c.Distance));
        var svg = new SvgPicture(Width, Height);
        svg.Line($"<text x=\"{Left}\" y=\"{Top - 14}\" font-weight=\"bold\">Frechet distance over seconds per image; dashed: the Pareto front</text>");
        svg.Line($"<rect x=\"{Left}\" y=\"{Top}\" width=\"{Width - Left - Right}\" height=\"{Height - Top - Bottom}\" fill=\"none\" stroke=\"#444\"/>");
        foreach (double v in Ticks(fast, slow))
        {
            svg.Line($"<line x1=\"{X(v):F1}\" y1=\"{Top}\" x2=\"{X(v):F1}\" y2=\"{Height - Bottom}\" stroke=\"#ddd\"/>");
            svg.Line($"<text x=\"{X(v):F1}\" y=\"{Height - Bottom + 16}\" text-anchor=\"middle\">{v:G3}</text>");
        }

        foreach (double v in Ticks(near, far))
        {
            svg.Line($"<line x1=\"{Left}\" y1=\"{Y(v):F1}\" x2=\"{Width - Right}\" y2=\"{Y(v):F1}\" stroke=\"#ddd\"/>");
            svg.Line($"<text x=\"{Left - 6}\" y=\"{Y(v) + 4:F1}\" text-anchor=\"end\">{v:G3}</text>");
        }

        svg.Line($"<text x=\"{(Left + Width - Right) / 2}\" y=\"{Height - Bottom + 38}\" text-anchor=\"middle\">seconds per image</text>");
        int legend = 0;
        foreach (var sampler in cells.GroupBy(c => c.Sampler))
        {
            string colour = SvgPicture.Colour(legend);
            var points = sampler.OrderBy(c => c.Seconds).ToList();
            svg.Line($"<polyline points=\"{Points(points)}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>");
            foreach (var c in points) svg.Line($"<circle cx=\"{X(c.Seconds):F1}\" cy=\"{Y(c.Distance):F1}\" r=\"3\" fill=\"{colour}\"><title>{SvgPicture.Escape(c.Sampler)}, {c.Evaluations} evaluations: {c.Distance:G4}</title></circle>");
            int y = Top + 10 + legend * LegendLine;
            svg.Line($"<line x1=\"{Width - Right + 12}\" y1=\"{y}\" x2=\"{Width - Right + 36}\" y2=\"{y}\" stroke=\"{colour}\" stroke-width=\"2\"/>");
            svg.Line($"<text x=\"{Width - Right + 42}\" y=\"{y + 4}\">{SvgPicture.Escape(sampler.Key)}</text>");
            legend++;
        }

        var front = FrechetCell.Front(cells);
        svg.Line($"<polyline points=\"{Points(front)}\" fill=\"none\" stroke=\"black\" stroke-dasharray=\"6 4\"/>");
        foreach (var c in front) svg.Line($"<circle cx=\"{X(c.Seconds):F1}\" cy=\"{Y(c.Distance):F1}\" r=\"6\" fill=\"none\" stroke=\"black\"/>");
        return svg.Finish();

        double X(double v) => Left + (Width - Left - Right) * Math.Log(v / fast) / Math.Log(slow / fast);
        double Y(double v) => Height - Bottom - (Height - Top - Bottom) * Math.Log(Math.Max(v, near) / near) / Math.Log(far / near);
        string Points(IEnumerable<FrechetCell> of) => string.Join(' ', of.Select(c => string.Create(CultureInfo.InvariantCulture, $"{X(c.Seconds):F1},{Y(c.Distance):F1}")));
    }

    // A little room on both sides.
    private static (double Low, double High) Range(IEnumerable<double> values)
    {
        double[] positive = [.. values.Where(v => v > 0 && double.IsFinite(v)).DefaultIfEmpty(1)];
        return (positive.Min() / 1.25, positive.Max() * 1.25);
    }

    private static IEnumerable<double> Ticks(double low, double high)
    {
        for (double decade = Math.Pow(10, Math.Floor(Math.Log10(low))); decade <= high; decade *= 10)
            foreach (int m in new[] { 1, 2, 5 })
                if (decade * m >= low && decade * m <= high) yield return decade * m;
    }
}
