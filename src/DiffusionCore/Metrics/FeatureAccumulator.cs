namespace DiffusionCore.Metrics;

/// <summary>Takes feature vectors one by one and gives their mean and covariance.</summary>
/// <param name="dimension">Of every vector.</param>
public sealed class FeatureAccumulator(int dimension)
{
    // Products of values minus the first vector: what is subtracted at the end stays small against what was summed.
    private readonly double[] origin = new double[dimension], sum = new double[dimension], products = new double[dimension * dimension], centred = new double[dimension];

    public long Count { get; private set; }

    public void Add(ReadOnlySpan<float> features)
    {
        if (features.Length != dimension) throw new ArgumentException($"expected {dimension} features, found {features.Length}", nameof(features));
        for (int i = 0; i < dimension; i++)
        {
            if (Count == 0) origin[i] = features[i];
            centred[i] = features[i] - origin[i];
            sum[i] += centred[i];
        }

        for (int i = 0; i < dimension; i++)
            for (int j = 0; j <= i; j++) products[i * dimension + j] += centred[i] * centred[j];
        Count++;
    }

    /// <exception cref="InvalidOperationException">Fewer than two vectors.</exception>
    public FeatureStatistics Finish()
    {
        if (Count < 2) throw new InvalidOperationException($"a covariance needs two vectors, there are {Count}");
        double[] mean = new double[dimension], covariance = new double[dimension * dimension];
        for (int i = 0; i < dimension; i++) mean[i] = origin[i] + sum[i] / Count;
        for (int i = 0; i < dimension; i++)
            for (int j = 0; j <= i; j++) covariance[i * dimension + j] = covariance[j * dimension + i] = (products[i * dimension + j] - sum[i] * sum[j] / Count) / (Count - 1);
        return new(Count, mean, covariance);
    }
}
