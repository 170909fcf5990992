using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Runtime;

/// <summary>Looks each text's last token up and copies its row.</summary>
internal sealed unsafe class CpuPickToken : CpuImplementation
{
    public override string Name => "scan-and-copy";

    public override string? Declines(Node node, ReadOnlySpan<TensorType> operands) => operands[0].DType == DType.F32 ? null : $"x is {operands[0].DType}";

    public override CpuStep Build(CpuBuild build) => new Step
    {
        X = build.Operand(0), Ids = build.Operand(1), Y = build.Output(), Texts = build.Shape(0)[0], Tokens = build.Shape(0)[1], Width = (int)build.Shape(0)[2],
        Wide = build.Type(1).DType == DType.I64, EndOfText = ((PickTokenOp)build.Op).EndOfText,
    };

    private sealed class Step : CpuStep
    {
        public required byte** X, Ids, Y;
        public required long Texts, Tokens, EndOfText;
        public required int Width;
        public required bool Wide;

        public override void Run()
        {
            for (long n = 0; n < Texts; n++)
            {
                float* row = (float*)*X + (n * Tokens + Find(n * Tokens)) * Width;
                new ReadOnlySpan<float>(row, Width).CopyTo(new Span<float>((float*)*Y + n * Width, Width));
            }
        }

        private long Find(long start)
        {
            long best = 0;
            for (long i = 0; i < Tokens; i++)
            {
                if (EndOfText < 0 ? Id(start + i) > Id(start + best) : Id(start + i) == EndOfText)
                {
                    best = i;
                    if (EndOfText >= 0) break;
                }
            }

            return best;
        }

        private long Id(long i) => Wide ? ((long*)*Ids)[i] : ((int*)*Ids)[i];
    }
}
