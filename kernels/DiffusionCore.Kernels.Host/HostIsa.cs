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
}
