namespace DiffusionCore.Runtime;

/// <summary>A resize along one axis as a table: for each output position the input positions and their weights, which sum to 1.</summary>
public static class ResizeTable
{
    /// <param name="given">Output over input; 0 takes it from the sizes.</param>
    public static AxisTable Of(ResizeOp op, long input, int output, double given)
    {
        double scale = ResizeOp.Ratio(input, output, given), stretch = op.Antialias ? Math.Min(1, scale) : 1;
        int reach = (int)Math.Ceiling(op.Support(scale)), taps = Math.Max(1, 2 * reach);
        var index = new int[output * taps];
        var weight = new float[index.Length];
        var exact = new double[taps];
        for (int i = 0; i < output; i++)
        {
            double at = op.Position(i, input, output, scale);
            double first = op.Mode == ResizeMode.Nearest ? op.Round(at) : Math.Floor(at) - reach + 1;
            for (int t = 0; t < taps; t++)
            {
                index[i * taps + t] = (int)Math.Clamp(first + t, 0, input - 1);
                bool outside = first + t < 0 || first + t >= input;
                exact[t] = op.Mode == ResizeMode.Nearest ? 1 : op.ExcludeOutside && outside ? 0 : op.Filter((first + t - at) * stretch);
            }

            double total = exact.Sum();
            for (int t = 0; t < taps; t++) weight[i * taps + t] = (float)(exact[t] / total);
        }

        return new AxisTable(taps, index, weight);
    }
}
