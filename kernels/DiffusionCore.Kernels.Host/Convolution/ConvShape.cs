namespace DiffusionCore.Kernels.Host;

/// <summary>Extents of a convolution without groups; all in elements.</summary>
public struct ConvShape
{
    public int Batch, Height, Width, Channels, Outputs, KernelH, KernelW, StrideH, StrideW, PadTop, PadLeft, PadBottom, PadRight, DilationH, DilationW;

    /// <summary>Every pixel of x stands for this many each way: x is [N, Height/Upsampling, Width/Upsampling, C]. 0 is 1.</summary>
    public int Upsampling;

    internal readonly int Factor => Math.Max(1, Upsampling);

    public readonly int OutHeight => (Height + PadTop + PadBottom - DilationH * (KernelH - 1) - 1) / StrideH + 1;

    public readonly int OutWidth => (Width + PadLeft + PadRight - DilationW * (KernelW - 1) - 1) / StrideW + 1;

    /// <summary>A matrix product over pixels: 1x1, every pixel, no border.</summary>
    public readonly bool IsProduct => KernelH == 1 && KernelW == 1 && Factor == 1 && StrideH == 1 && StrideW == 1 && (PadTop | PadLeft | PadBottom | PadRight) == 0;
}
