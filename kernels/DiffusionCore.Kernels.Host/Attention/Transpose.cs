using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;

namespace DiffusionCore.Kernels.Host;

/// <summary>dst[c, r] = src[r, c]. Moves bits only, so every path gives the same ones.</summary>
internal static unsafe class Transpose
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Run(float* src, long lds, int rows, int columns, float* dst, long ldd)
    {
        int wholeRows = 0, wholeColumns = 0;
        if (Sse.IsSupported)
        {
            wholeRows = rows / 4 * 4;
            wholeColumns = columns / 4 * 4;
            for (int c = 0; c < wholeColumns; c += 4)
            {
                for (int r = 0; r < wholeRows; r += 4) Block(src + r * lds + c, lds, dst + c * ldd + r, ldd);
            }
        }

        for (int r = 0; r < rows; r++)
            for (int c = r < wholeRows ? wholeColumns : 0; c < columns; c++) dst[c * ldd + r] = src[r * lds + c];
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Block(float* src, long lds, float* dst, long ldd)
    {
        var a = Sse.LoadVector128(src);
        var b = Sse.LoadVector128(src + lds);
        var c = Sse.LoadVector128(src + 2 * lds);
        var d = Sse.LoadVector128(src + 3 * lds);
        var ab = Sse.UnpackLow(a, b);
        var cd = Sse.UnpackLow(c, d);
        Sse.Store(dst, Sse.MoveLowToHigh(ab, cd));
        Sse.Store(dst + ldd, Sse.MoveHighToLow(cd, ab));
        ab = Sse.UnpackHigh(a, b);
        cd = Sse.UnpackHigh(c, d);
        Sse.Store(dst + 2 * ldd, Sse.MoveLowToHigh(ab, cd));
        Sse.Store(dst + 3 * ldd, Sse.MoveHighToLow(cd, ab));
    }
}
