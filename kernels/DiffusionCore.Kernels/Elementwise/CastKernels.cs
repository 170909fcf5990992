// Changes of type.
//
//   I32, I64 -> F32   the device's conversion, to nearest
//   F16, BF16 -> F32  exact, by bits
//   F32 -> F16, BF16  to nearest even, by bits; too large becomes infinity, NaN stays NaN
//
// Work split  one thread per element.
// Numerics    bits rather than a device's half type, which not every device has.
// Roofline    memory bound.
using ILGPU;

namespace DiffusionCore.Kernels;

public static class CastKernels
{
    [GpuKernel]
    public static void FromInt(ArrayView<int> x, ArrayView<float> y, int count)
    {
        int i = Grid.GlobalIndex.X;
        if (i < count) y[i] = x[i];
    }

    [GpuKernel]
    public static void FromLong(ArrayView<long> x, ArrayView<float> y, int count)
    {
        int i = Grid.GlobalIndex.X;
        if (i < count) y[i] = x[i];
    }

    /// <param name="bfloat">1 for BF16, 0 for F16.</param>
    [GpuKernel]
    public static void FromHalf(ArrayView<ushort> x, ArrayView<float> y, int count, int bfloat)
    {
        int i = Grid.GlobalIndex.X;
        if (i >= count) return;
        uint bits = x[i];
        y[i] = bfloat != 0 ? Interop.IntAsFloat(bits << 16) : Widen(bits);
    }

    [GpuKernel]
    public static void ToHalf(ArrayView<float> x, ArrayView<ushort> y, int count, int bfloat)
    {
        int i = Grid.GlobalIndex.X;
        if (i >= count) return;
        uint bits = Interop.FloatAsInt(x[i]);
        y[i] = (ushort)(bfloat != 0 ? NarrowBFloat(bits) : Narrow(bits));
    }

    private static float Widen(uint half)
    {
        uint sign = (half & 0x8000u) << 16, exponent = (half >> 10) & 31u, fraction = half & 0x3FFu;
        if (exponent == 31u) return Interop.IntAsFloat(sign | 0x7F800000u | (fraction << 13));
        if (exponent != 0u) return Interop.IntAsFloat(sign | ((exponent + 112u) << 23) | (fraction << 13));
        float small = (int)fraction * 5.9604644775390625e-8f;       // subnormal: fraction * 2^-24
        return sign != 0u ? -small : small;
    }

    private static uint NarrowBFloat(uint bits)
    {
        if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return (bits >> 16) | 0x40u;
        return (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
    }

    private static uint Narrow(uint bits)
    {
        uint sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7FFFFFFFu;
        if (magnitude > 0x7F800000u) return sign | 0x7E00u;
        if (magnitude >= 0x477FF000u) return sign | 0x7C00u;        // 65520 and more round to infinity
        if (magnitude >= 0x38800000u)                               // 2^-14 and more: normal
            return sign | ((magnitude - 0x38000000u + 0xFFFu + ((magnitude >> 13) & 1u)) >> 13);
        if (magnitude < 0x33000000u) return sign;                   // below 2^-25: zero
        // Subnormal: the fraction with its leading one, shifted so that a unit is 2^-24.
        int shift = 126 - (int)(magnitude >> 23);
        uint fraction = (magnitude & 0x7FFFFFu) | 0x800000u;
        uint kept = fraction >> shift, rest = fraction & ((1u << shift) - 1u), half = 1u << (shift - 1);
        if (rest > half || (rest == half && (kept & 1u) != 0u)) kept += 1u;
        return sign | kept;
    }
}
