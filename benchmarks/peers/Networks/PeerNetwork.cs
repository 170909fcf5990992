using DiffusionCore.Runtime;
using Microsoft.ML.OnnxRuntime;

namespace DiffusionCore.Peers;

/// <summary>A network in the peer: a session on its .onnx file with bound tensors, channels first.</summary>
internal sealed class PeerNetwork : IDisposable
{
    private readonly InferenceSession session;
    private readonly RunOptions options = new();
    private readonly string[] inputNames, outputNames = ["y"];
    private readonly OrtValue[] inputs, outputs;
    private readonly float[] result;
    private readonly Shape shape;

    public PeerNetwork(string path, Graph graph, Dictionary<string, float[]> values, int threads)
    {
        using var settings = new SessionOptions { IntraOpNumThreads = threads, InterOpNumThreads = 1, GraphOptimizationLevel = GraphOptimizationLevel.ORT_ENABLE_ALL };
        session = new InferenceSession(path, settings);
        inputNames = [.. values.Keys];
        inputs = [.. inputNames.Select(name =>
        {
            var s = graph.Nodes[graph.Inputs[name]].Type.Shape;
            return OrtValue.CreateTensorValueFromMemory(ChannelsFirst(values[name], s), OnnxExporter.Extents(s));
        })];
        shape = graph.Nodes[graph.Outputs[0].Id].Type.Shape;
        result = new float[shape.Count];
        outputs = [OrtValue.CreateTensorValueFromMemory(result, OnnxExporter.Extents(shape))];
    }

    public void Run() => session.Run(options, inputNames, inputs, outputNames, outputs);

    /// <summary>As ours lie: channels last.</summary>
    public float[] Result()
    {
        if (shape.Rank != 4) return [.. result];
        var y = new float[result.Length];
        long pixels = shape[1] * shape[2], channels = shape[3];
        for (long i = 0; i < y.LongLength; i++)
        {
            long image = i / (pixels * channels), p = i / channels % pixels, c = i % channels;
            y[i] = result[((image * channels) + c) * pixels + p];
        }

        return y;
    }

    public void Dispose()
    {
        foreach (var v in inputs) v.Dispose();
        foreach (var v in outputs) v.Dispose();
        options.Dispose();
        session.Dispose();
    }

    private static float[] ChannelsFirst(float[] x, Shape s)
    {
        if (s.Rank != 4) return [.. x];
        var y = new float[x.Length];
        long pixels = s[1] * s[2], channels = s[3];
        for (long i = 0; i < x.LongLength; i++)
        {
            long image = i / (pixels * channels), p = i / channels % pixels, c = i % channels;
            y[((image * channels) + c) * pixels + p] = x[i];
        }

        return y;
    }
}
