using System.Runtime.InteropServices;
using DiffusionCore.Runtime;

namespace DiffusionCore.Peers;

/// <summary>Weights widened to F32 in one file, each once in each form that graphs read, at offsets that the peer can map.</summary>
internal sealed class ExternalWeights : IDisposable
{
    private const int Page = 4096;

    private readonly Dictionary<(string Name, bool Turned), (long Offset, long Bytes)> places = [];
    private readonly FileStream stream;

    public ExternalWeights(string path)
    {
        File = Path.GetFileName(path);
        stream = new FileStream(path, FileMode.Create, FileAccess.Write);
    }

    public string File { get; }

    /// <param name="turned">Whether a matrix [N, K] is wanted as [K, N].</param>
    public (long Offset, long Bytes) Place(IWeightSource source, bool turned)
    {
        if (places.TryGetValue((source.Name, turned), out var place)) return place;
        float[] values = Read(source);
        if (turned)
        {
            int n = (int)source.Type.Shape[0], k = (int)source.Type.Shape[1];
            var other = new float[values.Length];
            for (int i = 0; i < n; i++)
                for (int j = 0; j < k; j++) other[(j * n) + i] = values[(i * k) + j];
            values = other;
        }

        stream.Position = (stream.Position + Page - 1) / Page * Page;
        place = (stream.Position, values.Length * (long)sizeof(float));
        stream.Write(MemoryMarshal.AsBytes(values.AsSpan()));
        return places[(source.Name, turned)] = place;
    }

    public void Dispose() => stream.Dispose();

    public static float[] Read(IWeightSource source) => Array.ConvertAll(Interpreter.ReadWeight(source), v => (float)v);
}
