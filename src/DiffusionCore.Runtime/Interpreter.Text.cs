namespace DiffusionCore.Runtime;

public static partial class Interpreter
{
    private static double[] PickToken(PickTokenOp op, Tensor[] x)
    {
        long count = x[0].Shape[1], width = x[0].Shape[2];
        var y = new List<double>();
        for (long n = 0; n < x[0].Shape[0]; n++)
        {
            double[] ids = x[1].Data[(int)(n * count)..(int)((n + 1) * count)];
            int at = Math.Max(0, Array.IndexOf(ids, op.EndOfText < 0 ? ids.Max() : op.EndOfText));
            for (long c = 0; c < width; c++) y.Add(x[0].Data[(n * count + at) * width + c]);
        }

        return [.. y];
    }
}
