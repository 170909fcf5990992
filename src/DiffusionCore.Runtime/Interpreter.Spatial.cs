namespace DiffusionCore.Runtime;

public static partial class Interpreter
{
    private static double[] NearestCode(Tensor[] x)
    {
        long codes = x[1].Shape[0], width = x[1].Shape[1];
        var r = new double[x[0].Shape.Count / width];
        for (long row = 0; row < r.LongLength; row++)
        {
            double best = double.PositiveInfinity;
            for (long k = 0; k < codes; k++)
            {
                double distance = 0;
                for (long d = 0; d < width; d++) distance += Math.Pow(x[0].Data[row * width + d] - x[1].Data[k * width + d], 2);
                if (distance >= best) continue;
                best = distance;
                r[row] = k;
            }
        }

        return r;
    }
}
