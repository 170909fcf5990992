namespace DiffusionCore.Runtime;

public static partial class Interpreter
{
    private static double[] GroupNormGradient(GroupNormGradientOp op, Tensor[] x)
    {
        var s = x[0].Shape;
        long channels = s[-1], pixels = s.Count / (s[0] * channels), width = channels / op.Groups;
        var r = new double[s.Count];
        for (long n = 0; n < s[0]; n++)
        {
            for (long g = 0; g < op.Groups; g++)
            {
                double count = pixels * width, mean = 0, variance = 0, first = 0, second = 0;
                Each(i => mean += x[0].Data[i] / count);
                Each(i => variance += (x[0].Data[i] - mean) * (x[0].Data[i] - mean) / count);
                double inverse = 1 / Math.Sqrt(variance + op.Epsilon);
                Each(i =>
                {
                    first += G(i) / count;
                    second += G(i) * (x[0].Data[i] - mean) * inverse / count;
                });
                Each(i => r[i] = inverse * (G(i) - first - (x[0].Data[i] - mean) * inverse * second));

                double G(long i) => x[1].Data[i] * (op.Affine ? x[2].Data[i % channels] : 1);

                void Each(Action<long> action)
                {
                    for (long p = 0; p < pixels; p++)
                        for (long c = 0; c < width; c++) action((n * pixels + p) * channels + g * width + c);
                }
            }
        }

        return r;
    }
}
