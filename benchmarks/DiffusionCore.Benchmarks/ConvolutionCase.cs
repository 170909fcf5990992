using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Benchmarks;

/// <summary>Square convolution of a square map, stride 1, same size, with bias.</summary>
public sealed unsafe class ConvolutionCase(string name, int channels, int outputs, int size, int kernel = 3, int batch = 1, WeightType type = WeightType.F32)
    : OperatorCase("conv", name)
{
    private ConvShape shape;
    private WorkerPool? pool;
    private float* x, y, bias;
    private void* packed, scratch;

    public int Channels => channels;

    public int Outputs => outputs;

    public int Size => size;

    public int KernelSize => kernel;

    public int Batch => batch;

    public float* X => x;

    public float* Y => y;

    public float* Bias => bias;

    /// <summary>[O, C, k, k].</summary>
    public float* Weights { get; private set; }

    /// <summary>0 direct, 1 few outputs, else Winograd's tile; -1 asks the table.</summary>
    public int Tile { get; init; } = -1;

    private int Chosen => Tile >= 0 ? Tile : (int)ConvolutionChoice.Of(shape, exact: false);

    public override string Kernel => Chosen == 0 ? "direct" : Chosen == 1 ? "few outputs" : $"winograd F{Chosen}";

    public override double Flops => 2.0 * batch * size * size * channels * outputs * kernel * kernel;

    public override double Bytes => 4.0 * (batch * (double)size * size * (channels + outputs) + (double)channels * outputs * kernel * kernel);

    public override void Prepare(WorkerPool workers)
    {
        pool = workers;
        int pad = kernel / 2;
        shape = new ConvShape
        {
            Batch = batch, Height = size, Width = size, Channels = channels, Outputs = outputs, KernelH = kernel, KernelW = kernel, StrideH = 1, StrideW = 1,
            PadTop = pad, PadLeft = pad, PadBottom = pad, PadRight = pad, DilationH = 1, DilationW = 1,
        };
        x = Filled((long)batch * size * size * channels, 1);
        y = Floats((long)batch * size * size * outputs);
        bias = Filled(outputs, 2);
        Weights = Filled((long)outputs * channels * kernel * kernel, 3, 1 / MathF.Sqrt(channels * kernel * kernel));
        packed = Allocate(PackedWeights.Bytes(outputs, channels, kernel * kernel, type));
        PackedWeights.Pack(Stored(Weights, (long)outputs * channels * kernel * kernel, type), type, outputs, channels, kernel * kernel, packed);
        scratch = Allocate(Chosen == 0 ? Convolution.ScratchBytes(shape, type, pool.Count) : Chosen == 1 ? FewOutputs.ScratchBytes(shape) : Winograd.ScratchBytes(shape, (WinogradTile)Chosen, type, pool.Count));
    }

    public override void Run()
    {
        var epilogue = new Epilogue { Bias = bias };
        if (Chosen == 0) Convolution.Run(pool!, shape, x, channels, packed, type, y, outputs, epilogue, scratch);
        else if (Chosen == 1) FewOutputs.Run(pool!, shape, x, channels, packed, type, y, outputs, epilogue, scratch);
        else Winograd.Run(pool!, shape, (WinogradTile)Chosen, x, channels, packed, type, y, outputs, epilogue, scratch);
    }
}
