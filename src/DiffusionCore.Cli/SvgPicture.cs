using System.Text;

namespace DiffusionCore.Cli;

/// <summary>An SVG picture that grows line by line on white.</summary>
internal sealed class SvgPicture
{
    private static readonly string[] Colours =
        ["#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#003f5c", "#ffa600", "#665191", "#2f4b7c"];

    private readonly StringBuilder text = new();

    public SvgPicture(int width, int height)
    {
        Line($"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">");
        Line($"<rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>");
    }

    public static string Colour(int curve) => Colours[curve % Colours.Length];

    public static string Escape(string text) => text.Replace("&", "&amp;", StringComparison.Ordinal).Replace("<", "&lt;", StringComparison.Ordinal);

    public void Line(FormattableString line) => text.Append(FormattableString.Invariant(line)).Append('\n');

    public string Finish() => $"{text}</svg>\n";
}
