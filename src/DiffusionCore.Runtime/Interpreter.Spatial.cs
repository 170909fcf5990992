namespace DiffusionCore.Runtime;

public static partial class Interpreter
{
    // Scattered, where the implementations gather.
    private static double[] ConvTranspose2d(ConvTranspose2dOp op, Tensor[] x, Shape y)
    {
        Shape s = x[0].Shape, w = x[1].Shape;
        long inputs = w[0] / op.Groups, outputs = w[1];
        var r = new double[y.Count];
        if (op.Bias)
            for (long i = 0; i < r.LongLength; i++) r[i] = x[2].Data[i % y[3]];
        for (long i = 0; i < x[0].Data.LongLength; i++)
        {
            long c = i % s[3], col = i / s[3] % s[2], row = i / (s[3] * s[2]) % s[1], n = i / (s[3] * s[2] * s[1]);
            for (long o = 0; o < outputs; o++)
            {
                for (long u = 0; u < w[2]; u++)
                {
                    for (long v = 0; v < w[3]; v++)
                    {
                        long oy = row * op.StrideH - op.PadTop + u * op.DilationH, ox = col * op.StrideW - op.PadLeft + v * op.DilationW;
                        if (oy < 0 || oy >= y[1] || ox < 0 || ox >= y[2]) continue;
                        r[((n * y[1] + oy) * y[2] + ox) * y[3] + c / inputs * outputs + o] += x[0].Data[i] * x[1].Data[((c * outputs + o) * w[2] + u) * w[3] + v];
                    }
                }
            }
        }

        return r;
    }

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
