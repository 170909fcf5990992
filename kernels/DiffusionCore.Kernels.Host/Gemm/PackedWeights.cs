// Weights in the one canonical form that matrix products and convolutions share: [panel][tap][input][lane], in the stored type.
// A panel is 48 outputs (AVX-512) or 16; the last one is padded with zeros to a multiple of 16. F16 and BF16 are widened when a launch needs
// them: a layer of up to 4 MB (widened) whole, once per launch, larger ones panel block by panel block into per-worker memory.
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace DiffusionCore.Kernels.Host;

/// <summary>Packing and widening of weights.</summary>
public static unsafe class PackedWeights
{
    /// <summary>Outputs that can be packed apart from the others, whatever the panels' width: [first, first + n) goes to first*inputs*taps elements.</summary>
    public const int PartRows = 48;

    /// <summary>Bytes of the packed form of [outputs][inputs][taps].</summary>
    public static long Bytes(int outputs, int inputs, int taps, WeightType type) => Elements(outputs, inputs, taps) * Size(type);

    /// <param name="src">[outputs][inputs][taps] without gaps, as files have it, of the packed form's element type; may be unaligned.</param>
    public static void Pack(void* src, WeightType type, int outputs, int inputs, int taps, void* dst) => Pack(HostIsa.Active, src, type, outputs, inputs, taps, dst);

    internal static void Pack(Isa isa, void* src, WeightType type, int outputs, int inputs, int taps, void* dst)
    {
        int panelWidth = MicroKernel.WidthOf(isa);
        if (type == WeightType.F32) Pack(panelWidth, (uint*)src, outputs, inputs, taps, (uint*)dst);
        else Pack(panelWidth, (ushort*)src, outputs, inputs, taps, (ushort*)dst);
    }

    internal static int Size(WeightType type) => type == WeightType.F32 ? 4 : 2;

    internal static long Elements(int outputs, int inputs, int taps) => (outputs + 15L) / 16 * 16 * inputs * taps;

    /// <summary>Columns of a panel as stored.</summary>
    internal static int Width(int panelWidth, int outputs, int panel) => Math.Min(panelWidth, (outputs - panel * panelWidth + 15) / 16 * 16);

    internal static int Panels(int panelWidth, int outputs) => (outputs + panelWidth - 1) / panelWidth;

    /// <summary>Elements before a panel.</summary>
    internal static long Offset(int panelWidth, int panel, int inputs, int taps) => (long)panel * panelWidth * inputs * taps;

    /// <summary>Widens n numbers.</summary>
    public static void Widen(void* src, WeightType type, float* dst, long n) => Widen(HostIsa.Active, src, type, dst, n);

    internal static void Widen(Isa isa, void* src, WeightType type, float* dst, long n)
    {
        ushort* h = (ushort*)src;
        long i = 0;
        if (type == WeightType.BF16)
        {
            if (isa == Isa.Avx512)
            {
                for (; i + 16 <= n; i += 16) Vector512.ShiftLeft(Avx512F.ConvertToVector512UInt32(Vector256.Load(h + i)), 16).AsSingle().Store(dst + i);
            }
            else if (isa == Isa.Avx2)
            {
                for (; i + 8 <= n; i += 8) Avx2.ShiftLeftLogical(Avx2.ConvertToVector256Int32(Vector128.Load(h + i)), 16).AsSingle().Store(dst + i);
            }

            for (; i < n; i++) dst[i] = BitConverter.Int32BitsToSingle(h[i] << 16);
            return;
        }

        if (isa == Isa.Avx512)
        {
            // Exponent and mantissa land in place, 112 too low: the product with 2^112 is exact, subnormals included. Infinity and NaN keep theirs.
            var magic = Vector512.Create(BitConverter.Int32BitsToSingle((127 + 112) << 23));
            var limit = Vector512.Create(65536f);
            for (; i + 16 <= n; i += 16)
            {
                var bits = Avx512F.ConvertToVector512UInt32(Vector256.Load(h + i));
                var body = Avx512F.Multiply(Vector512.ShiftLeft(bits & Vector512.Create(0x7FFFu), 13).AsSingle(), magic);
                var special = Vector512.GreaterThanOrEqual(body, limit).AsUInt32() & Vector512.Create(0x7F800000u);
                (body.AsUInt32() | special | Vector512.ShiftLeft(bits & Vector512.Create(0x8000u), 16)).AsSingle().Store(dst + i);
            }
        }
        else if (isa == Isa.Avx2)
        {
            var magic = Vector256.Create(BitConverter.Int32BitsToSingle((127 + 112) << 23));
            var limit = Vector256.Create(65536f);
            for (; i + 8 <= n; i += 8)
            {
                var bits = Avx2.ConvertToVector256Int32(Vector128.Load(h + i)).AsUInt32();
                var body = Avx.Multiply(Vector256.ShiftLeft(bits & Vector256.Create(0x7FFFu), 13).AsSingle(), magic);
                var special = Vector256.GreaterThanOrEqual(body, limit).AsUInt32() & Vector256.Create(0x7F800000u);
                (body.AsUInt32() | special | Vector256.ShiftLeft(bits & Vector256.Create(0x8000u), 16)).AsSingle().Store(dst + i);
            }
        }

        for (; i < n; i++) dst[i] = HalfToSingle(h[i]);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float HalfToSingle(ushort h)
    {
        float body = BitConverter.Int32BitsToSingle((h & 0x7FFF) << 13) * BitConverter.Int32BitsToSingle((127 + 112) << 23);
        int bits = BitConverter.SingleToInt32Bits(body) | (body >= 65536f ? 0x7F800000 : 0) | ((h & 0x8000) << 16);
        return BitConverter.Int32BitsToSingle(bits);
    }

    // Inputs outermost: one stream of reads per lane, whole lines of writes.
    private static void Pack<T>(int panelWidth, T* src, int outputs, int inputs, int taps, T* dst)
        where T : unmanaged
    {
        long row = (long)inputs * taps;
        for (int panel = 0; panel < Panels(panelWidth, outputs); panel++)
        {
            int width = Width(panelWidth, outputs, panel), valid = Math.Min(width, outputs - panel * panelWidth);
            T* from = src + panel * panelWidth * row;
            for (int c = 0; c < inputs; c++)
            {
                for (int t = 0; t < taps; t++, from++)
                {
                    T* to = dst + ((long)t * inputs + c) * width;
                    for (int lane = 0; lane < valid; lane++) to[lane] = Unsafe.ReadUnaligned<T>(from + lane * row);
                    for (int lane = valid; lane < width; lane++) to[lane] = default;
                }
            }

            dst += row * width;
        }
    }
}
