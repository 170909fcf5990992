namespace DiffusionCore.Runtime;

/// <summary>Batched product of two computed matrices: the second is packed on the fly.</summary>
internal sealed unsafe class CpuMatMul(CpuDevice device) : CpuImplementation
{
    public override string Name => "gemm-pack-at-use";

    public override string? Declines(Node node, ReadOnlySpan<TensorType> operands)
    {
        var op = (MatMulOp)node.Op;
        return NeedsF32(node, operands) ?? (op.TransposeA ? "the first operand is transposed" : null);
    }

    public override long ScratchBytes(Node node, ReadOnlySpan<TensorType> operands)
    {
        var (m, n, k) = Extents((MatMulOp)node.Op, operands[0].Shape, operands[1].Shape);
        return PackedBytes(n, k) + Transposed(n, k) + Gemm.ScratchBytes(m, n, k, WeightType.F32, device.Pool.Count);
    }

    public override CpuStep Build(CpuBuild build)
    {
        var op = (MatMulOp)build.Op;
        Shape a = build.Shape(0), b = build.Shape(1), y = build.Result.Shape;
        var (m, n, k) = Extents(op, a, b);
        var lead = y.ToArray().AsSpan()[..^2];
        long[] sa = new long[lead.Length], sb = new long[lead.Length];
        StridedLoop.Broadcast(a.ToArray().AsSpan()[..^2], lead, sa);
        StridedLoop.Broadcast(b.ToArray().AsSpan()[..^2], lead, sb);
        return new Step
        {
            Pool = build.Pool, A = build.Operand(0), B = build.Operand(1), Y = build.Output(), Scratch = build.Scratch(), M = m, N = n, K = k, TransposedB = op.TransposeB,
            Lead = lead.ToArray(), StridesA = sa, StridesB = sb,
        };
    }

    private static (int M, int N, int K) Extents(MatMulOp op, Shape a, Shape b) => ((int)a[-2], (int)(op.TransposeB ? b[-2] : b[-1]), (int)a[-1]);

    private static long PackedBytes(int n, int k) => Passes.ArenaPass.Align(PackedWeights.Bytes(n, k, 1, WeightType.F32));

    private static long Transposed(int n, int k) => Passes.ArenaPass.Align((long)n * k * sizeof(float));

    private sealed class Step : CpuStep
    {
        public required WorkerPool Pool;
        public required byte** A, B, Y;
        public required byte* Scratch;
        public required int M, N, K;
        public required bool TransposedB;
        public required long[] Lead, StridesA, StridesB;

        public override void Run()
        {
            long count = 1;
            foreach (long d in Lead) count *= d;
            for (long i = 0; i < count; i++)
            {
                long rest = i, offsetA = 0, offsetB = 0;
                for (int axis = Lead.Length - 1; axis >= 0; axis--)
                {
                    long at = rest % Lead[axis];
                    rest /= Lead[axis];
                    offsetA += at * StridesA[axis];
                    offsetB += at * StridesB[axis];
                }

                float* b = (float*)*B + offsetB * N * K;
                var transposed = (float*)(Scratch + PackedBytes(N, K));
                if (!TransposedB)
                {
                    for (int r = 0; r < K; r++)
                        for (int c = 0; c < N; c++) transposed[(long)c * K + r] = b[(long)r * N + c];
                }

                PackedWeights.Pack(TransposedB ? b : transposed, WeightType.F32, N, K, 1, Scratch);
                Gemm.Run(
                    Pool, (float*)*A + offsetA * M * K, K, M, K, Scratch, WeightType.F32, N, (float*)*Y + i * M * N, N, M, Epilogue.None,
                    Scratch + PackedBytes(N, K) + Transposed(N, K));
            }
        }
    }
}
