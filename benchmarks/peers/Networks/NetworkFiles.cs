using System.Runtime.InteropServices;
using DiffusionCore.Runtime;
using DiffusionCore.Synthesis;
using DiffusionCore.Weights;

namespace DiffusionCore.Peers;

/// <summary>What the comparison of networks needs on disk, made where it is absent: the model, the peer's files from the same weights, and results in double.</summary>
internal sealed class NetworkFiles(string folder)
{
    private const string Preset = "sd15", TinyPreset = "sd-tiny";
    private const ulong Seed = 0;
    private const double LargestReferenceDifference = 1e-12;

    private bool referenceChecked;

    public string Model => Synthetic(Preset);

    public string Onnx(NetworkCase one, GraphForm form) => Path.Combine(folder, $"{one.Name}.{form.ToString().ToLowerInvariant()}.onnx");

    /// <summary>Writes the peer's models of a network, both forms on one file of weights.</summary>
    public void Export(NetworkCase one)
    {
        if (Enum.GetValues<GraphForm>().All(form => File.Exists(Onnx(one, form)))) return;
        var graph = one.Record(Model);
        Console.Error.WriteLine($"writing the peer's {one.Name}");
        using var weights = new ExternalWeights(Path.Combine(folder, one.Name + ".weights"));
        var models = Enum.GetValues<GraphForm>().Select(form => (Form: form, Bytes: OnnxExporter.Export(graph, form, weights))).ToList();
        foreach (var (form, bytes) in models) File.WriteAllBytes(Onnx(one, form), bytes);
    }

    /// <summary>The network's result in double precision.</summary>
    public double[] Reference(NetworkCase one)
    {
        string path = Path.Combine(folder, one.Name + ".double");
        if (File.Exists(path)) return MemoryMarshal.Cast<byte, double>(File.ReadAllBytes(path)).ToArray();
        Check();
        Console.Error.WriteLine($"computing {one.Name} in double precision");
        long start = System.Diagnostics.Stopwatch.GetTimestamp();
        double[] y = Doubles(one.Record(Model), DoubleNetwork.Run);
        Console.Error.WriteLine($"  {System.Diagnostics.Stopwatch.GetElapsedTime(start).TotalSeconds:F0} s");
        File.WriteAllBytes(path, MemoryMarshal.AsBytes(y.AsSpan()).ToArray());
        return y;
    }

    // The reference is itself held to the interpreter, on a network small enough for it.
    private void Check()
    {
        if (referenceChecked) return;
        var graph = NetworkCase.Tiny.Record(Synthetic(TinyPreset));
        double difference = Accuracy.Difference(Doubles(graph, DoubleNetwork.Run), Doubles(graph, Interpreter.Run));
        if (!(difference <= LargestReferenceDifference)) throw new InvalidOperationException($"the double reference is off by {difference:E1} from the interpreter");
        Console.Error.WriteLine($"the double reference agrees with the interpreter to {difference:E1} on {TinyPreset}");
        referenceChecked = true;
    }

    private static double[] Doubles(Graph graph, Func<Graph, IReadOnlyDictionary<string, double[]>, Dictionary<string, double[]>> run) =>
        run(graph, NetworkCase.Inputs(graph).ToDictionary(p => p.Key, p => Array.ConvertAll(p.Value, v => (double)v)))["y"];

    private string Synthetic(string preset)
    {
        Directory.CreateDirectory(folder);
        string path = Path.Combine(folder, preset);
        if (Directory.Exists(path)) return path;
        Console.Error.WriteLine($"writing {preset}");
        SynthModel.Write(SynthPreset.Find(preset), path, Seed, StorageType.F16);
        return path;
    }
}

/// <summary>Differences of results.</summary>
internal static class Accuracy
{
    /// <summary>Root of the mean square difference over that of the right result.</summary>
    public static double Difference(double[] result, double[] right)
    {
        double difference = 0, whole = 0;
        for (int i = 0; i < right.Length; i++)
        {
            difference += (result[i] - right[i]) * (result[i] - right[i]);
            whole += right[i] * right[i];
        }

        return Math.Sqrt(difference / whole);
    }

    public static double Difference(float[] result, double[] right) => Difference(Array.ConvertAll(result, v => (double)v), right);
}
