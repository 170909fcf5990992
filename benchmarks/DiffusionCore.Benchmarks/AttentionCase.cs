using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Benchmarks;

/// <summary>softmax(Q K^T / sqrt(d)) V, one image.</summary>
public sealed unsafe class AttentionCase(string name, int heads, int queries, int keys, int dim) : OperatorCase("attention", name)
{
    private WorkerPool? pool;
    private AttentionShape shape;
    private void* scratch;

    public int Heads => heads;

    public int Queries => queries;

    public int Keys => keys;

    public int Dim => dim;

    public float* Q { get; private set; }

    public float* K { get; private set; }

    public float* V { get; private set; }

    public float* Y { get; private set; }

    public override double Flops => 4.0 * heads * queries * keys * dim;

    public override double Bytes => 8.0 * heads * dim * ((double)queries + keys);

    public override void Prepare(WorkerPool workers)
    {
        pool = workers;
        shape = new AttentionShape { Batch = 1, Heads = heads, Queries = queries, Keys = keys, HeadDim = dim, ValueDim = dim, Scale = 1 / MathF.Sqrt(dim) };
        long c = (long)heads * dim;
        Q = Filled(queries * c, 1, 2);
        K = Filled(keys * c, 2, 2);
        V = Filled(keys * c, 3);
        Y = Floats(queries * c);
        scratch = Allocate(Attention.ScratchBytes(shape, pool.Count));
    }

    public override void Run()
    {
        long c = (long)heads * dim;
        Attention.Run(pool!, shape, Q, c, K, c, V, c, null, 0, 0, 0, Y, c, scratch);
    }
}
