// The transforms of Winograd's minimal filtering for 3x3 kernels, sixteen channels or outputs at a time.
//
//   y = A^T [ (G g G^T) * (B^T d B) ] A,   d: n x n inputs, g: 3x3 taps, y: m x m outputs, n = m + 2   (Lavin and Gray 2016)
//
// F4  m = 4 on the points {0, 1, -1, 1/2, -2, infinity}: 36 products for 16 outputs, 4 times fewer than the 144 of a direct convolution. A point and
//     its negative reciprocal balance the powers that A^T carries. Relative rms error against double 1.0e-6 with 320 inputs, 1.2e-6 with 1280. In a form
//     without blocks of channels 2.3e-6, and 3.8e-6 on the usual points {0, +-1, +-2, infinity}. Factors of a power of two between G, B and A change
//     no rounding, so there is nothing to scale.
// F2  m = 2 on {0, 1, -1, infinity}: 16 products for 4 outputs, 2.25 times fewer; error 2.3e-7.
//
// Every transform works on rows first, then on columns; each is the same chain of operations on every instruction set.
using System.Runtime.CompilerServices;

namespace DiffusionCore.Kernels.Host;

/// <summary>One size of tile. Pitches are floats between the n*n (m*m, 3*3) parts; temporary memory is n*n vectors.</summary>
internal unsafe interface IWinogradTile
{
    /// <summary>m.</summary>
    static abstract int Outputs { get; }

    /// <summary>n.</summary>
    static abstract int Inputs { get; }

    /// <summary>G g G^T: nine taps to n*n.</summary>
    static abstract void Weights<V>(float* taps, nint tapPitch, float* u, nint pitch, float* temporary)
        where V : unmanaged, ISimd16<V>;

    /// <summary>B^T d B: pixel (i, j) is read at pixels[i*n + j] + offset.</summary>
    static abstract void Input<V>(float** pixels, nint offset, float* v, nint pitch, float* temporary)
        where V : unmanaged, ISimd16<V>;

    /// <summary>A^T m A: output (i, j) goes to y + (i*m + j)*yPitch.</summary>
    static abstract void Output<V>(float* products, nint pitch, float* y, nint yPitch, float* temporary)
        where V : unmanaged, ISimd16<V>;
}

internal readonly unsafe struct WinogradF4 : IWinogradTile
{
    public static int Outputs => 4;

    public static int Inputs => 6;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Weights<V>(float* taps, nint tapPitch, float* u, nint pitch, float* temporary)
        where V : unmanaged, ISimd16<V>
    {
        // Eighteen named values stay in the 32 registers of AVX-512: 144 cycles through memory, see kernels/README.md.
        G(V.Load(taps), V.Load(taps + 3 * tapPitch), V.Load(taps + 6 * tapPitch), out V a0, out V a1, out V a2, out V a3, out V a4, out V a5);
        taps += tapPitch;
        G(V.Load(taps), V.Load(taps + 3 * tapPitch), V.Load(taps + 6 * tapPitch), out V b0, out V b1, out V b2, out V b3, out V b4, out V b5);
        taps += tapPitch;
        G(V.Load(taps), V.Load(taps + 3 * tapPitch), V.Load(taps + 6 * tapPitch), out V c0, out V c1, out V c2, out V c3, out V c4, out V c5);
        Row(a0, b0, c0, u, pitch);
        Row(a1, b1, c1, u + 6 * pitch, pitch);
        Row(a2, b2, c2, u + 12 * pitch, pitch);
        Row(a3, b3, c3, u + 18 * pitch, pitch);
        Row(a4, b4, c4, u + 24 * pitch, pitch);
        Row(a5, b5, c5, u + 30 * pitch, pitch);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Row<V>(V a, V b, V c, float* u, nint pitch)
        where V : unmanaged, ISimd16<V>
    {
        G(a, b, c, out V r0, out V r1, out V r2, out V r3, out V r4, out V r5);
        V.Store(r0, u);
        V.Store(r1, u + pitch);
        V.Store(r2, u + 2 * pitch);
        V.Store(r3, u + 3 * pitch);
        V.Store(r4, u + 4 * pitch);
        V.Store(r5, u + 5 * pitch);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Input<V>(float** pixels, nint offset, float* v, nint pitch, float* temporary)
        where V : unmanaged, ISimd16<V>
    {
        for (int i = 0; i < 6; i++, pixels += 6)
        {
            B(
                V.Load(pixels[0] + offset), V.Load(pixels[1] + offset), V.Load(pixels[2] + offset), V.Load(pixels[3] + offset), V.Load(pixels[4] + offset),
                V.Load(pixels[5] + offset), temporary + i * 6 * 16, 16);
        }

        for (int j = 0; j < 6; j++)
        {
            float* t = temporary + j * 16;
            B(V.Load(t), V.Load(t + 96), V.Load(t + 192), V.Load(t + 288), V.Load(t + 384), V.Load(t + 480), v + j * pitch, 6 * pitch);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Output<V>(float* products, nint pitch, float* y, nint yPitch, float* temporary)
        where V : unmanaged, ISimd16<V>
    {
        for (int j = 0; j < 6; j++)
        {
            float* p = products + j * pitch;
            A(
                V.Load(p), V.Load(p + 6 * pitch), V.Load(p + 12 * pitch), V.Load(p + 18 * pitch), V.Load(p + 24 * pitch), V.Load(p + 30 * pitch),
                temporary + j * 16, 96);
        }

        for (int i = 0; i < 4; i++)
        {
            float* t = temporary + i * 96;
            A(V.Load(t), V.Load(t + 16), V.Load(t + 32), V.Load(t + 48), V.Load(t + 64), V.Load(t + 80), y + i * 4 * yPitch, yPitch);
        }
    }

    //  1      0      0
    //  1/3    1/3    1/3
    // -1/3    1/3   -1/3
    // -16/15 -8/15  -4/15
    //  1/15  -2/15   4/15
    //  0      0      1
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void G<V>(V a, V b, V c, out V r0, out V r1, out V r2, out V r3, out V r4, out V r5)
        where V : unmanaged, ISimd16<V>
    {
        V third = V.Create(1 / 3f), outer = a + c;
        r0 = a;
        r1 = (outer + b) * third;
        r2 = (b - outer) * third;
        r3 = V.MultiplyAdd(V.Create(4f), a, V.MultiplyAdd(V.Create(2f), b, c)) * V.Create(-4 / 15f);
        r4 = V.MultiplyAdd(V.Create(4f), c, V.NegatedMultiplyAdd(V.Create(2f), b, a)) * V.Create(1 / 15f);
        r5 = c;
    }

    // 1  -3/2  -2    3/2   1    0
    // 0  -1     1/2  5/2   1    0
    // 0   1    -5/2  1/2   1    0
    // 0  -2    -1    2     1    0
    // 0   1/2  -1   -1/2   1    0
    // 0   1    -3/2 -2     3/2  1
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void B<V>(V d0, V d1, V d2, V d3, V d4, V d5, float* v, nint pitch)
        where V : unmanaged, ISimd16<V>
    {
        V half = V.Create(0.5f), two = V.Create(2f), five = V.Create(2.5f), three = V.Create(1.5f);
        V s = d4 - d2, u = d3 - d1;
        V.Store(V.MultiplyAdd(three, u, V.NegatedMultiplyAdd(two, d2, d0 + d4)), v);
        V.Store(V.MultiplyAdd(five, d3, V.MultiplyAdd(half, d2, d4 - d1)), v + pitch);
        V.Store(V.NegatedMultiplyAdd(five, d2, V.MultiplyAdd(half, d3, d4 + d1)), v + 2 * pitch);
        V.Store(V.MultiplyAdd(two, u, s), v + 3 * pitch);
        V.Store(V.NegatedMultiplyAdd(half, u, s), v + 4 * pitch);
        V.Store(V.MultiplyAdd(three, s, V.NegatedMultiplyAdd(two, d3, d1 + d5)), v + 5 * pitch);
    }

    // 1  1   1  1    1  0
    // 0  1  -1  1/2 -2  0
    // 0  1   1  1/4  4  0
    // 0  1  -1  1/8 -8  1
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void A<V>(V m0, V m1, V m2, V m3, V m4, V m5, float* y, nint pitch)
        where V : unmanaged, ISimd16<V>
    {
        V sum = m1 + m2, difference = m1 - m2;
        V.Store(m0 + sum + (m3 + m4), y);
        V.Store(V.NegatedMultiplyAdd(V.Create(2f), m4, V.MultiplyAdd(V.Create(0.5f), m3, difference)), y + pitch);
        V.Store(V.MultiplyAdd(V.Create(4f), m4, V.MultiplyAdd(V.Create(0.25f), m3, sum)), y + 2 * pitch);
        V.Store(V.NegatedMultiplyAdd(V.Create(8f), m4, V.MultiplyAdd(V.Create(0.125f), m3, difference + m5)), y + 3 * pitch);
    }
}

internal readonly unsafe struct WinogradF2 : IWinogradTile
{
    public static int Outputs => 2;

    public static int Inputs => 4;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Weights<V>(float* taps, nint tapPitch, float* u, nint pitch, float* temporary)
        where V : unmanaged, ISimd16<V>
    {
        for (int j = 0; j < 3; j++)
            G(V.Load(taps + j * tapPitch), V.Load(taps + (3 + j) * tapPitch), V.Load(taps + (6 + j) * tapPitch), temporary + j * 16, 3 * 16);
        for (int i = 0; i < 4; i++)
        {
            float* row = temporary + i * 3 * 16;
            G(V.Load(row), V.Load(row + 16), V.Load(row + 32), u + i * 4 * pitch, pitch);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Input<V>(float** pixels, nint offset, float* v, nint pitch, float* temporary)
        where V : unmanaged, ISimd16<V>
    {
        for (int i = 0; i < 4; i++, pixels += 4)
            B(V.Load(pixels[0] + offset), V.Load(pixels[1] + offset), V.Load(pixels[2] + offset), V.Load(pixels[3] + offset), temporary + i * 4 * 16, 16);
        for (int j = 0; j < 4; j++)
        {
            float* t = temporary + j * 16;
            B(V.Load(t), V.Load(t + 64), V.Load(t + 128), V.Load(t + 192), v + j * pitch, 4 * pitch);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Output<V>(float* products, nint pitch, float* y, nint yPitch, float* temporary)
        where V : unmanaged, ISimd16<V>
    {
        for (int j = 0; j < 4; j++)
        {
            float* p = products + j * pitch;
            A(V.Load(p), V.Load(p + 4 * pitch), V.Load(p + 8 * pitch), V.Load(p + 12 * pitch), temporary + j * 16, 64);
        }

        for (int i = 0; i < 2; i++)
        {
            float* t = temporary + i * 64;
            A(V.Load(t), V.Load(t + 16), V.Load(t + 32), V.Load(t + 48), y + i * 2 * yPitch, yPitch);
        }
    }

    // 1 0 0; 1/2 1/2 1/2; 1/2 -1/2 1/2; 0 0 1
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void G<V>(V a, V b, V c, float* u, nint pitch)
        where V : unmanaged, ISimd16<V>
    {
        V half = V.Create(0.5f), outer = a + c;
        V.Store(a, u);
        V.Store((outer + b) * half, u + pitch);
        V.Store((outer - b) * half, u + 2 * pitch);
        V.Store(c, u + 3 * pitch);
    }

    // 1 0 -1 0; 0 1 1 0; 0 -1 1 0; 0 1 0 -1
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void B<V>(V d0, V d1, V d2, V d3, float* v, nint pitch)
        where V : unmanaged, ISimd16<V>
    {
        V.Store(d0 - d2, v);
        V.Store(d1 + d2, v + pitch);
        V.Store(d2 - d1, v + 2 * pitch);
        V.Store(d1 - d3, v + 3 * pitch);
    }

    // 1 1 1 0; 0 1 -1 -1
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void A<V>(V m0, V m1, V m2, V m3, float* y, nint pitch)
        where V : unmanaged, ISimd16<V>
    {
        V.Store(m0 + m1 + m2, y);
        V.Store(m1 - m2 - m3, y + pitch);
    }
}
