using System.Runtime.Intrinsics.X86;

namespace DiffusionCore.Kernels.Host;

/// <summary>The instruction-set path that a host kernel runs on.</summary>
public enum Isa
{
    Scalar,
    Avx2,
    Avx512,
}

/// <summary>Which path this process uses. The same bytes come out of all of them.</summary>
public static class HostIsa
{
    /// <summary>The widest path that processor, runtime and build allow (DOTNET_EnableAVX512=0 and DOTNET_EnableHWIntrinsic=0 narrow it).</summary>
    public static Isa Active =>
        Avx512F.IsSupported && Avx512F.VL.IsSupported && Avx512BW.IsSupported && Avx512DQ.IsSupported ? Isa.Avx512
        : Avx2.IsSupported && Fma.IsSupported ? Isa.Avx2
        : Isa.Scalar;

    // Half of the last-level cache of common machines: what is written beyond it is gone before anyone reads it.
    private const long StreamingBytes = 16L << 20;

    /// <summary>Whether rows of a result this large are better written past the caches, and may be.</summary>
    internal static unsafe bool StreamsTo(float* y, long pitch, long bytes) => bytes >= StreamingBytes && (nint)y % 64 == 0 && pitch % 16 == 0;

    /// <summary>Orders streaming stores before whatever follows.</summary>
    internal static void FenceStores()
    {
        if (Sse.IsSupported) Sse.StoreFence();
    }
}
