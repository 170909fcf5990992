using DiffusionCore.Metrics;
using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Tests.Metrics;

public sealed class FrechetDistanceTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("dcore-test-").FullName;

    public void Dispose() => Directory.Delete(folder, recursive: true);

    [Fact]
    public void Independent_features_add_up_their_own_distances()
    {
        var a = new FeatureStatistics(100, [1, -2, 0], [4, 0, 0, 0, 0.25, 0, 0, 0, 1]);
        var b = new FeatureStatistics(100, [0, 1, 0.5], [1, 0, 0, 0, 2.25, 0, 0, 0, 0]);
        // Means: 1 + 9 + 0.25. Standard deviations: 2 and 1, 0.5 and 1.5, 1 and 0.
        Assert.Equal(10.25 + 1 + 1 + 1, FrechetDistance.Between(a, b), 1e-12);
    }

    [Fact]
    public void Two_features_that_depend_differently_on_each_other()
    {
        double[] c1 = [2, 0.7, 0.7, 1], c2 = [1.5, -0.9, -0.9, 3];
        // For 2x2 matrices tr(M^(1/2)) = sqrt(tr M + 2 sqrt(det M)), with M = C1 C2.
        double trace = c1[0] * c2[0] + c1[1] * c2[2] + c1[2] * c2[1] + c1[3] * c2[3];
        double determinant = (c1[0] * c1[3] - c1[1] * c1[2]) * (c2[0] * c2[3] - c2[1] * c2[2]);
        double expected = c1[0] + c1[3] + c2[0] + c2[3] - 2 * Math.Sqrt(trace + 2 * Math.Sqrt(determinant));
        Assert.Equal(expected, FrechetDistance.Between(new(9, [0, 0], c1), new(9, [0, 0], c2)), 1e-12);
        Assert.Equal(expected, FrechetDistance.Between(new(9, [0, 0], c2), new(9, [0, 0], c1)), 1e-12);
    }

    [Fact]
    public void A_set_is_no_distance_from_itself_even_with_fewer_vectors_than_features()
    {
        var set = Statistics(Vectors(11, 20, 40));
        Assert.Equal(0, FrechetDistance.Between(set, set), 1e-6);
    }

    [Fact]
    public void A_shift_counts_with_its_square()
    {
        var vectors = Vectors(5, 300, 12);
        var moved = vectors.Select(v => v.Select(x => x + 0.25f).ToArray()).ToList();
        Assert.Equal(12 * 0.0625, FrechetDistance.Between(Statistics(vectors), Statistics(moved)), 1e-5);
    }

    [Fact]
    public void Features_of_other_dimensions_do_not_compare() =>
        Assert.Throws<ArgumentException>(() => FrechetDistance.Between(new(2, [0], [1]), new(2, [0, 0], [1, 0, 0, 1])));

    [Fact]
    public void Mean_and_covariance_are_those_of_two_passes_in_double()
    {
        const int Count = 57, Dimension = 9;
        // Far from zero, where sums of squares lose what matters.
        var vectors = Vectors(3, Count, Dimension).Select(v => v.Select(x => x + 1000).ToArray()).ToList();
        var found = Statistics(vectors);
        Assert.Equal(Count, found.Count);
        var mean = Enumerable.Range(0, Dimension).Select(i => vectors.Average(v => (double)v[i])).ToArray();
        for (int i = 0; i < Dimension; i++)
        {
            Assert.Equal(mean[i], found.Mean[i], 1e-9);
            for (int j = 0; j < Dimension; j++)
                Assert.Equal(vectors.Sum(v => (v[i] - mean[i]) * (v[j] - mean[j])) / (Count - 1), found.Covariance[i * Dimension + j], 1e-9);
        }
    }

    [Fact]
    public void One_vector_has_no_covariance()
    {
        var one = new FeatureAccumulator(2);
        one.Add([1, 2]);
        Assert.Throws<InvalidOperationException>(one.Finish);
        Assert.Throws<ArgumentException>(() => one.Add([1, 2, 3]));
    }

    [Fact]
    public void Eigenvectors_diagonalise_and_are_orthonormal()
    {
        const int N = 33;
        var random = new Random(7);
        var m = new double[N * N];
        for (int i = 0; i < N; i++)
            for (int j = 0; j <= i; j++) m[i * N + j] = m[j * N + i] = random.NextDouble() - 0.5;
        var (values, v) = SymmetricEigen.Of(m, N);
        for (int i = 0; i < N; i++)
        {
            for (int j = 0; j < N; j++)
            {
                double rebuilt = 0, product = 0;
                for (int k = 0; k < N; k++)
                {
                    rebuilt += v[i * N + k] * values[k] * v[j * N + k];
                    product += v[k * N + i] * v[k * N + j];
                }

                Assert.Equal(m[i * N + j], rebuilt, 1e-12);
                Assert.Equal(i == j ? 1 : 0, product, 1e-12);
            }
        }
    }

    [Fact]
    public void Statistics_come_back_from_their_file_bit_for_bit()
    {
        string path = Path.Combine(folder, "s.safetensors");
        var set = Statistics(Vectors(1, 30, 5));
        set.Write(path, "thirty vectors", overwrite: false);
        var back = FeatureStatistics.Load(path);
        Assert.Equal((set.Count, set.Dimension), (back.Count, back.Dimension));
        Assert.Equal(set.Mean, back.Mean);
        Assert.Equal(set.Covariance, back.Covariance);
    }

    [Fact]
    public void A_file_of_other_tensors_is_refused()
    {
        string path = Path.Combine(folder, "other.safetensors");
        SafetensorsWriter.Write(path, [new("mean", StorageType.F32, [2], new byte[8])]);
        Assert.Contains("feature statistics", Assert.Throws<ModelFileException>(() => FeatureStatistics.Load(path)).Message, StringComparison.Ordinal);
    }

    private static FeatureStatistics Statistics(IEnumerable<float[]> vectors)
    {
        var all = vectors.ToList();
        var a = new FeatureAccumulator(all[0].Length);
        foreach (var v in all) a.Add(v);
        return a.Finish();
    }

    private static List<float[]> Vectors(int seed, int count, int dimension)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => Enumerable.Range(0, dimension).Select(i => (float)(random.NextDouble() * (i + 1))).ToArray())];
    }
}
