using DiffusionCore.Benchmarks;
using Microsoft.ML.OnnxRuntime;

namespace DiffusionCore.Peers;

/// <summary>The peer's form of one of our cases: a session with bound tensors, in the peer's own layout (channels first).</summary>
internal sealed unsafe class PeerCase : IDisposable
{
    private readonly InferenceSession session;
    private readonly RunOptions options = new();
    private readonly string[] inputNames, outputNames = ["y"];
    private readonly OrtValue[] inputs, outputs;
    private readonly float[] result, ours;
    private readonly float* y;
    private readonly int pixels, channels;

    public PeerCase(OperatorCase one, int threads)
    {
        var w = new OnnxWriter();
        var tensors = new List<(string Name, long[] Dims, float[] Values)>();
        long[] outDims;
        switch (one)
        {
            case ConvolutionCase c:
            {
                long s = c.Size, kernel = c.KernelSize;
                tensors.Add(("x", [c.Batch, c.Channels, s, s], ChannelsFirst(c.X, (int)(s * s), c.Channels)));
                outDims = [c.Batch, c.Outputs, s, s];
                w.Node("Conv", [w.Input("x", tensors[0].Dims), w.Constant("w", new(c.Weights, (int)(c.Outputs * c.Channels * kernel * kernel)), c.Outputs, c.Channels, kernel, kernel), w.Constant("b", new(c.Bias, c.Outputs), c.Outputs)],
                    result: "y", attributes: [("kernel_shape", new[] { (int)kernel, (int)kernel }), ("pads", new[] { (int)kernel / 2, (int)kernel / 2, (int)kernel / 2, (int)kernel / 2 })]);
                y = c.Y;
                (pixels, channels) = ((int)(s * s), c.Outputs);
                break;
            }

            case GemmCase g:
            {
                tensors.Add(("x", [g.M, g.K], Copy(g.X, (long)g.M * g.K)));
                var transposed = new float[(long)g.N * g.K];
                for (int j = 0; j < g.N; j++)
                    for (int i = 0; i < g.K; i++) transposed[(long)i * g.N + j] = g.Weights[(long)j * g.K + i];
                string product = w.Node("MatMul", [w.Input("x", tensors[0].Dims), w.Constant("w", transposed, g.K, g.N)]);
                string sum = w.Node("Add", [product, w.Constant("b", new(g.Bias, g.N), g.N)], result: g.Geglu ? null : "y");
                if (g.Geglu)
                {
                    w.Node("Split", [sum], outputCount: 2, result: "half", attributes: [("axis", -1), ("num_outputs", 2)]);
                    w.Node("Mul", ["half", w.Node("Gelu", ["half_1"])], result: "y");
                }

                outDims = [g.M, g.Geglu ? g.N / 2 : g.N];
                y = g.Y;
                (pixels, channels) = (1, g.M * (int)outDims[1]);
                break;
            }

            case AttentionCase a:
            {
                long c = (long)a.Heads * a.Dim;
                tensors.Add(("q", [1, a.Queries, c], Copy(a.Q, a.Queries * c)));
                tensors.Add(("k", [1, a.Keys, c], Copy(a.K, a.Keys * c)));
                tensors.Add(("v", [1, a.Keys, c], Copy(a.V, a.Keys * c)));
                w.Node("MultiHeadAttention", [w.Input("q", tensors[0].Dims), w.Input("k", tensors[1].Dims), w.Input("v", tensors[2].Dims)], domain: "com.microsoft", result: "y", attributes: [("num_heads", a.Heads)]);
                outDims = [1, a.Queries, c];
                y = a.Y;
                (pixels, channels) = (1, a.Queries * (int)c);
                break;
            }

            case NormCase { Groups: 0 } l:
                tensors.Add(("x", [l.Pixels, l.Channels], Copy(l.X, (long)l.Pixels * l.Channels)));
                w.Node("LayerNormalization", [w.Input("x", tensors[0].Dims), w.Constant("g", new(l.Gamma, l.Channels), l.Channels), w.Constant("b", new(l.Beta, l.Channels), l.Channels)], result: "y", attributes: [("axis", -1), ("epsilon", 1e-5f)]);
                outDims = [l.Pixels, l.Channels];
                y = l.Y;
                (pixels, channels) = (1, l.Pixels * l.Channels);
                break;

            case NormCase n:
            {
                // As exporters write it: instance normalisation over groups, then the affine part, then SiLU.
                long side = (long)Math.Sqrt(n.Pixels);
                outDims = [1, n.Channels, side, side];
                tensors.Add(("x", outDims, ChannelsFirst(n.X, n.Pixels, n.Channels)));
                float[] ones = new float[n.Groups], zeros = new float[n.Groups];
                Array.Fill(ones, 1);
                string groups = w.Node("Reshape", [w.Input("x", outDims), w.Shape("s0", 1, n.Groups, -1)]);
                string normal = w.Node("InstanceNormalization", [groups, w.Constant("one", ones, n.Groups), w.Constant("zero", zeros, n.Groups)], attributes: [("epsilon", 1e-5f)]);
                string back = w.Node("Reshape", [normal, w.Shape("s1", outDims)]);
                string scaled = w.Node("Mul", [back, w.Constant("g", new(n.Gamma, n.Channels), n.Channels, 1, 1)]);
                string shifted = w.Node("Add", [scaled, w.Constant("b", new(n.Beta, n.Channels), n.Channels, 1, 1)]);
                w.Node("Mul", [shifted, w.Node("Sigmoid", [shifted])], result: "y");
                y = n.Y;
                (pixels, channels) = (n.Pixels, n.Channels);
                break;
            }

            default:
                throw new ArgumentException(one.Group);
        }

        w.Output("y", outDims);
        using var settings = new SessionOptions { IntraOpNumThreads = threads, InterOpNumThreads = 1, GraphOptimizationLevel = GraphOptimizationLevel.ORT_ENABLE_ALL };
        session = new InferenceSession(w.ToArray(), settings);
        inputNames = [.. tensors.Select(t => t.Name)];
        inputs = [.. tensors.Select(t => OrtValue.CreateTensorValueFromMemory(t.Values, t.Dims))];
        long count = outDims.Aggregate(1L, (a, b) => a * b);
        result = new float[count];
        ours = new float[count];
        outputs = [OrtValue.CreateTensorValueFromMemory(result, outDims)];
    }

    public void Run() => session.Run(options, inputNames, inputs, outputNames, outputs);

    /// <summary>Root of the mean square difference over that of the results.</summary>
    public double Difference()
    {
        float[] mine = pixels == 1 ? Copy(y, ours.Length) : ChannelsFirst(y, pixels, channels);
        double difference = 0, whole = 0;
        for (long i = 0; i < mine.Length; i++)
        {
            difference += ((double)mine[i] - result[i]) * ((double)mine[i] - result[i]);
            whole += (double)result[i] * result[i];
        }

        return Math.Sqrt(difference / whole);
    }

    public void Dispose()
    {
        foreach (var v in inputs) v.Dispose();
        foreach (var v in outputs) v.Dispose();
        options.Dispose();
        session.Dispose();
    }

    private static float[] Copy(float* p, long n)
    {
        var values = new float[n];
        for (long i = 0; i < n; i++) values[i] = p[i];
        return values;
    }

    private static float[] ChannelsFirst(float* p, int pixels, int channels)
    {
        var values = new float[(long)pixels * channels];
        for (int i = 0; i < pixels; i++)
            for (int c = 0; c < channels; c++) values[(long)c * pixels + i] = p[(long)i * channels + c];
        return values;
    }
}
