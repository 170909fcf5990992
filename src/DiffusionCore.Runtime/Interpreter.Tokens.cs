namespace DiffusionCore.Runtime;

public static partial class Interpreter
{
    private static double[] TokenMatch(TokenMatchOp op, Tensor x)
    {
        int images = (int)x.Shape[0], sources = (int)x.Shape[1], targets = (int)x.Shape[2];
        var y = new double[images * sources];
        for (int n = 0; n < images; n++)
        {
            var best = Enumerable.Range(0, sources).Select(s =>
            {
                var row = x.Data.AsSpan((n * sources + s) * targets, targets);
                int at = 0;
                for (int t = 1; t < targets; t++)
                    if (row[t] > row[at]) at = t;
                return (Source: s, Target: at, Score: row[at]);
            }).ToArray();
            var merged = best.OrderByDescending(b => b.Score).Take((int)op.Count).Select(b => b.Source).ToHashSet();      // a stable sort
            int free = targets;
            foreach (var b in best) y[n * sources + b.Source] = merged.Contains(b.Source) ? b.Target : free++;
        }

        return y;
    }

    private static double[] TokenMerge(TokenMergeOp op, Tensor[] x, Shape y)
    {
        int images = (int)y[0], rows = (int)x[0].Shape[1], channels = (int)y[2], targets = (int)op.Targets;
        var (sum, weight) = (new double[y.Count], new double[y[0] * y[1]]);
        for (int n = 0; n < images; n++)
        {
            for (int r = 0; r < rows; r++)
            {
                int to = n * (int)y[1] + (r < targets ? r : (int)x[1].Data[n * (rows - targets) + r - targets]);
                weight[to]++;
                for (int c = 0; c < channels; c++) sum[to * channels + c] += x[0].Data[(n * rows + r) * channels + c];
            }
        }

        return [.. sum.Select((v, i) => v / weight[i / channels])];
    }

    private static double[] TokenUnmerge(TokenUnmergeOp op, Tensor[] x, Shape y) => Gather(y, x[0], at =>
        [at[0], at[1] < op.Targets ? at[1] : (long)x[1].Data[at[0] * x[1].Shape[1] + at[1] - op.Targets], at[2]]);
}
