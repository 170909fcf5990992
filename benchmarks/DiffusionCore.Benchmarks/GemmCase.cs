using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Benchmarks;

/// <summary>x W^T + b, and with <paramref name="geglu"/> half of the outputs times the GELU of the other half.</summary>
public sealed unsafe class GemmCase(string name, int m, int n, int k, bool geglu = false, WeightType type = WeightType.F32) : OperatorCase(geglu ? "geglu" : "gemm", name)
{
    private WorkerPool? pool;
    private void* packed, scratch;

    public int M => m;

    public int N => n;

    public int K => k;

    public bool Geglu => geglu;

    public float* X { get; private set; }

    public float* Y { get; private set; }

    public float* Bias { get; private set; }

    /// <summary>[N, K].</summary>
    public float* Weights { get; private set; }

    public override double Flops => 2.0 * m * n * k;

    public override double Bytes => 4.0 * ((double)m * k + (double)n * k + (double)m * n / (geglu ? 2 : 1));

    public override void Prepare(WorkerPool workers)
    {
        pool = workers;
        X = Filled((long)m * k, 1);
        Y = Floats((long)m * n);
        Bias = Filled(n, 2);
        Weights = Filled((long)n * k, 3, 2 / MathF.Sqrt(k));
        packed = Allocate(PackedWeights.Bytes(n, k, 1, type));
        PackedWeights.Pack(Stored(Weights, (long)n * k, type), type, n, k, 1, packed);
        scratch = Allocate(geglu ? GegluProduct.ScratchBytes(n / 2, k, type, pool.Count) : Gemm.ScratchBytes(m, n, k, type, pool.Count));
    }

    public override void Run()
    {
        if (geglu) GegluProduct.Run(pool!, X, k, m, k, packed, type, n / 2, Bias, Y, n / 2, scratch);
        else Gemm.Run(pool!, X, k, m, k, packed, type, n, Y, n, m, new Epilogue { Bias = Bias }, scratch);
    }
}
