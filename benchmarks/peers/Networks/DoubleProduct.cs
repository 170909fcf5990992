// C = A W^T + bias in double, for references of whole networks: 800 GFLOP in half a minute instead of hours.
//
//   C: [M, N], A: [M, K] given by blocks, W: [N, K] packed to panels of 24 columns
//
// Work split  blocks of rows; within one, blocks of the sum, so that A's block stays in the L2 while the panels pass.
// Numerics    one fused multiply-add per term, in the order of k.
// Roofline    compute bound: 4 rows x 3 vectors of sums in registers.
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace DiffusionCore.Peers;

internal static unsafe class DoubleProduct
{
    private const int Lanes = 8, Panel = 3 * Lanes, Rows = 4, RowBlock = 192, SumBlock = 256;

    /// <summary>Fills rows [first, first + rows) of A, columns [k, k + count), row after row, <c>count</c> apart.</summary>
    public delegate void Block(int first, int rows, int k, int count, double* dst);

    /// <param name="period">Blocks of the sum do not cross its multiples: channels of one tap of a convolution; 0 for none.</param>
    public static void Run(Block a, int m, int n, int k, int period, double[] weights, double[]? bias, double[] c)
    {
        int panels = (n + Panel - 1) / Panel;
        double* packed = (double*)NativeMemory.AlignedAlloc((nuint)((long)panels * k * Panel * sizeof(double)), 64);
        try
        {
            Parallel.For(0, panels, p =>
            {
                double* d = packed + (long)p * k * Panel;
                for (int j = 0; j < Panel; j++)
                    for (int i = 0; i < k; i++) d[(long)i * Panel + j] = p * Panel + j < n ? weights[(long)(p * Panel + j) * k + i] : 0;
            });
            int block = Math.Clamp((m / Environment.ProcessorCount + Rows - 1) / Rows * Rows, Rows, RowBlock);
            int step = period == 0 ? SumBlock : Math.Min(SumBlock, period);
            Parallel.For(0, (m + block - 1) / block, b =>
            {
                int first = b * block, rows = Math.Min(block, m - first), padded = (rows + Rows - 1) / Rows * Rows, width = panels * Panel;
                double* source = (double*)NativeMemory.AlignedAlloc((nuint)(padded * step * sizeof(double)), 64);
                double* sums = (double*)NativeMemory.AlignedAlloc((nuint)((long)padded * width * sizeof(double)), 64);
                NativeMemory.Clear(sums, (nuint)((long)padded * width * sizeof(double)));
                for (int at = 0; at < k;)
                {
                    int count = Math.Min(step, (period == 0 ? k : (at / period + 1) * period) - at);
                    a(first, rows, at, count, source);
                    for (int p = 0; p < panels; p++)
                        for (int r = 0; r < padded; r += Rows) Tile(source + r * count, count, packed + ((long)p * k + at) * Panel, sums + (long)r * width + p * Panel, width);
                    at += count;
                }

                for (int r = 0; r < rows; r++)
                    for (int j = 0; j < n; j++) c[(long)(first + r) * n + j] = sums[(long)r * width + j] + (bias is null ? 0 : bias[j]);
                NativeMemory.AlignedFree(source);
                NativeMemory.AlignedFree(sums);
            });
        }
        finally
        {
            NativeMemory.AlignedFree(packed);
        }
    }

    private static void Tile(double* a, int k, double* w, double* c, int pitch)
    {
        double* a1 = a + k, a2 = a1 + k, a3 = a2 + k;
        Vector512<double> s00 = Vector512.Load(c), s01 = Vector512.Load(c + Lanes), s02 = Vector512.Load(c + 2 * Lanes);
        Vector512<double> s10 = Vector512.Load(c + pitch), s11 = Vector512.Load(c + pitch + Lanes), s12 = Vector512.Load(c + pitch + 2 * Lanes);
        Vector512<double> s20 = Vector512.Load(c + 2 * pitch), s21 = Vector512.Load(c + 2 * pitch + Lanes), s22 = Vector512.Load(c + 2 * pitch + 2 * Lanes);
        Vector512<double> s30 = Vector512.Load(c + 3 * pitch), s31 = Vector512.Load(c + 3 * pitch + Lanes), s32 = Vector512.Load(c + 3 * pitch + 2 * Lanes);
        for (int i = 0; i < k; i++, w += Panel)
        {
            Vector512<double> w0 = Vector512.Load(w), w1 = Vector512.Load(w + Lanes), w2 = Vector512.Load(w + 2 * Lanes);
            MultiplyRow(a[i], w0, w1, w2, ref s00, ref s01, ref s02);
            MultiplyRow(a1[i], w0, w1, w2, ref s10, ref s11, ref s12);
            MultiplyRow(a2[i], w0, w1, w2, ref s20, ref s21, ref s22);
            MultiplyRow(a3[i], w0, w1, w2, ref s30, ref s31, ref s32);
        }

        s00.Store(c);
        s01.Store(c + Lanes);
        s02.Store(c + 2 * Lanes);
        s10.Store(c + pitch);
        s11.Store(c + pitch + Lanes);
        s12.Store(c + pitch + 2 * Lanes);
        s20.Store(c + 2 * pitch);
        s21.Store(c + 2 * pitch + Lanes);
        s22.Store(c + 2 * pitch + 2 * Lanes);
        s30.Store(c + 3 * pitch);
        s31.Store(c + 3 * pitch + Lanes);
        s32.Store(c + 3 * pitch + 2 * Lanes);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void MultiplyRow(double a, Vector512<double> w0, Vector512<double> w1, Vector512<double> w2, ref Vector512<double> s0, ref Vector512<double> s1, ref Vector512<double> s2)
    {
        var v = Vector512.Create(a);
        s0 = Vector512.FusedMultiplyAdd(v, w0, s0);
        s1 = Vector512.FusedMultiplyAdd(v, w1, s1);
        s2 = Vector512.FusedMultiplyAdd(v, w2, s2);
    }
}
