namespace DiffusionCore.Runtime;

public static partial class Interpreter
{
    private static double[] RmsNorm(RmsNormOp op, Tensor[] x)
    {
        long channels = x[0].Shape[-1];
        var y = new double[x[0].Shape.Count];
        for (long at = 0; at < y.LongLength; at += channels)
        {
            double square = 0;
            for (long c = 0; c < channels; c++) square += x[0].Data[at + c] * x[0].Data[at + c] / channels;
            double root = op.Outside ? Math.Sqrt(square) + op.Epsilon : Math.Sqrt(square + op.Epsilon);
            for (long c = 0; c < channels; c++) y[at + c] = x[0].Data[at + c] / root * (op.Affine ? x[1].Data[c] : 1);
        }

        return y;
    }
}
