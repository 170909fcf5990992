namespace DiffusionCore.Runtime;

public static partial class Interpreter
{
    private static double[] GroupMoments(GroupMomentsOp op, Tensor[] x)
    {
        var s = x[0].Shape;
        long width = s[3] / op.Groups;
        var (top, bottom, left, right) = op.Rectangle(Array.ConvertAll(x[1].Data, v => (float)v), s[1], s[2]);
        return Fill(new Shape(s[0], op.Groups, 2), at =>
        {
            double sum = 0, square = 0, count = (double)(bottom - top) * (right - left) * width;
            Each(v => sum += v);
            double mean = sum / count;
            Each(v => square += (v - mean) * (v - mean));
            return at[2] == 0 ? mean : square / count;

            void Each(Action<double> action)
            {
                for (int r = top; r < bottom; r++)
                    for (int c = left; c < right; c++)
                        for (long k = at[1] * width; k < (at[1] + 1) * width; k++) action(x[0].Data[((at[0] * s[1] + r) * s[2] + c) * s[3] + k]);
            }
        });
    }

    private static double[] GivenGroupNorm(GivenGroupNormOp op, Tensor[] x)
    {
        long channels = x[0].Shape[-1], width = channels / op.Core.Groups, each = x[0].Shape.Count / x[0].Shape[0];
        var r = new double[x[0].Data.Length];
        for (long i = 0; i < r.LongLength; i++)
        {
            long c = i % channels, m = (i / each * op.Core.Groups + c / width) * 2;
            double v = (x[0].Data[i] - x[1].Data[m]) / Math.Sqrt(x[1].Data[m + 1] + op.Core.Epsilon);
            if (op.Core.Affine) v = v * x[2].Data[c] + x[3].Data[c];
            r[i] = op.Activation == Activation.None ? v : Apply(EpilogueSpec.FunctionOf(op.Activation), v);
        }

        return r;
    }

    private static double[] AveragePool(AveragePoolOp op, Tensor x, Shape y) => Fill(y, at =>
    {
        var s = x.Shape;
        double sum = 0;
        int padded = 0, real = 0;
        for (int i = 0; i < op.KernelH; i++)
        {
            for (int j = 0; j < op.KernelW; j++)
            {
                long r = at[1] * op.StrideH - op.PadTop + i * op.DilationH, c = at[2] * op.StrideW - op.PadLeft + j * op.DilationW;
                if (r >= s[1] + op.PadBottom || c >= s[2] + op.PadRight) continue;
                padded++;
                if (r < 0 || r >= s[1] || c < 0 || c >= s[2]) continue;
                real++;
                sum += x.Data[((at[0] * s[1] + r) * s[2] + c) * s[3] + at[3]];
            }
        }

        return sum / (op.CountPadding ? padded : real);
    });

    private static double[] MaxPool(MaxPoolOp op, Tensor x, Shape y) => Fill(y, at =>
    {
        var s = x.Shape;
        double best = double.NegativeInfinity;
        for (int i = 0; i < op.KernelH; i++)
        {
            for (int j = 0; j < op.KernelW; j++)
            {
                long r = at[1] * op.StrideH - op.PadTop + i * op.DilationH, c = at[2] * op.StrideW - op.PadLeft + j * op.DilationW;
                if (r >= 0 && r < s[1] && c >= 0 && c < s[2]) best = Math.Max(best, x.Data[((at[0] * s[1] + r) * s[2] + c) * s[3] + at[3]]);
            }
        }

        return best;
    });

    // Every pixel of the input (and of a wide border that repeats its edge) is asked for its weight; no table, no window.
    private static double[] Resize(ResizeOp op, Tensor x, Shape y)
    {
        var s = x.Shape;
        double[,] rows = Weights(s[1], op.OutHeight, op.ScaleH), columns = Weights(s[2], op.OutWidth, op.ScaleW);
        return Fill(y, at =>
        {
            double sum = 0;
            for (long r = 0; r < s[1]; r++)
            {
                if (rows[at[1], r] == 0) continue;
                for (long c = 0; c < s[2]; c++) sum += rows[at[1], r] * columns[at[2], c] * x.Data[((at[0] * s[1] + r) * s[2] + c) * s[3] + at[3]];
            }

            return sum;
        });

        double[,] Weights(long input, int output, double given)
        {
            var w = new double[output, input];
            double scale = ResizeOp.Ratio(input, output, given), stretch = op.Antialias ? Math.Min(1, scale) : 1;
            long border = (long)Math.Ceiling(op.Support(scale)) + 2;
            for (int i = 0; i < output; i++)
            {
                double at = op.Position(i, input, output, scale), total = 0;
                if (op.Mode == ResizeMode.Nearest)
                {
                    w[i, (long)Math.Clamp(op.Round(at), 0, input - 1)] = 1;
                    continue;
                }

                for (long k = -border; k < input + border; k++)
                {
                    if (op.ExcludeOutside && (k < 0 || k >= input)) continue;
                    double f = op.Filter((k - at) * stretch);
                    total += f;
                    w[i, Math.Clamp(k, 0, input - 1)] += f;
                }

                for (long k = 0; k < input; k++) w[i, k] /= total;
            }

            return w;
        }
    }

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
