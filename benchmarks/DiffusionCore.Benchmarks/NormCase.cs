using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Benchmarks;

/// <summary>Group normalisation with SiLU over a map, or layer normalisation over rows.</summary>
/// <param name="groups">0 for layer normalisation.</param>
public sealed unsafe class NormCase(string name, int pixels, int channels, int groups) : OperatorCase(groups == 0 ? "layernorm" : "groupnorm", name)
{
    private WorkerPool? pool;
    private void* scratch;

    public int Pixels => pixels;

    public int Channels => channels;

    public int Groups => groups;

    public float* X { get; private set; }

    public float* Y { get; private set; }

    public float* Gamma { get; private set; }

    public float* Beta { get; private set; }

    public override double Flops => 12.0 * pixels * channels;

    public override double Bytes => 8.0 * pixels * channels;

    public override void Prepare(WorkerPool workers)
    {
        pool = workers;
        X = Filled((long)pixels * channels, 1);
        Y = Floats((long)pixels * channels);
        Gamma = Filled(channels, 2);
        Beta = Filled(channels, 3);
        if (groups > 0) scratch = Allocate(GroupNorm.ScratchBytes(1, pixels, channels, groups, pool.Count));
    }

    public override void Run()
    {
        if (groups == 0) LayerNorm.Run(pool!, X, channels, Y, channels, pixels, channels, Gamma, Beta, 1e-5f);
        else GroupNorm.Run(pool!, X, channels, Y, channels, 1, pixels, channels, groups, Gamma, Beta, 1e-5f, null, null, 0, Activation.Silu, scratch);
    }
}
