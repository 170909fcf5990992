using System.Buffers.Binary;
using System.Runtime.InteropServices;
using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Metrics;

/// <summary>Mean and covariance of feature vectors, in double.</summary>
/// <param name="Count">Vectors seen, at least 2.</param>
/// <param name="Mean">[D].</param>
/// <param name="Covariance">[D, D] row by row, over Count - 1.</param>
public sealed record FeatureStatistics(long Count, double[] Mean, double[] Covariance)
{
    private const string MeanName = "mean", CovarianceName = "covariance", CountName = "count";

    public int Dimension => Mean.Length;

    /// <exception cref="ModelFileException">It is no file of statistics, or its numbers are none.</exception>
    public static FeatureStatistics Load(string path)
    {
        using var file = Checkpoint.Open(path);
        double[] mean = Doubles(file, MeanName, 1), covariance = Doubles(file, CovarianceName, 2);
        if (covariance.Length != (long)mean.Length * mean.Length) throw new ModelFileException(path, CovarianceName, $"expected [{mean.Length}, {mean.Length}], found {covariance.Length} numbers");
        Span<byte> count = stackalloc byte[sizeof(long)];
        if (!file.TryGet(CountName, out var entry) || entry.Type != StorageType.I64 || entry.Bytes != sizeof(long)) throw new ModelFileException(path, CountName, "expected one I64");
        file.Read(CountName, count);
        return new(BinaryPrimitives.ReadInt64LittleEndian(count), mean, covariance);
    }

    /// <param name="about">Goes into the file: what was seen.</param>
    public void Write(string path, string about, bool overwrite) => SafetensorsWriter.Write(
        path,
        [
            new(CountName, StorageType.I64, [1], BitConverter.GetBytes(Count)),
            new(CovarianceName, StorageType.F64, [Dimension, Dimension], MemoryMarshal.AsBytes(Covariance.AsSpan()).ToArray()),
            new(MeanName, StorageType.F64, [Dimension], MemoryMarshal.AsBytes(Mean.AsSpan()).ToArray()),
        ],
        new Dictionary<string, string> { ["about"] = about }, overwrite);

    private static double[] Doubles(Checkpoint file, string name, int rank)
    {
        if (!file.TryGet(name, out var entry) || entry.Type != StorageType.F64 || entry.Dims.Length != rank) throw new ModelFileException(file.Path, name, $"expected an F64 tensor of rank {rank}; is this a file of feature statistics?");
        var values = new double[entry.Bytes / sizeof(double)];
        file.Read(name, MemoryMarshal.AsBytes(values.AsSpan()));
        if (!Array.TrueForAll(values, double.IsFinite)) throw new ModelFileException(file.Path, name, "holds a number that is not finite");
        return values;
    }
}
