// float16 and bfloat16 to float and back.
//
//   bf16 -> f32  the upper half of the bits: exact.         f32 -> bf16  add 0x7FFF + last kept bit, shift: nearest, ties to even.
//   f16  -> f32  exact, subnormals included.                f32 -> f16   nearest, ties to even, overflow from 65520 on to infinity.
//   NaN stays NaN, quiet, with its sign and the upper bits of its payload.
//
// Work split  chunks of 16384 elements.
// Numerics    bits in, bits out: f16 subnormals are made by one float subtraction that is exact (widening) or that rounds where the
//             half's last bit is (narrowing), so the processor's own rounding to nearest even does the work.
// Roofline    6 bytes moved per element: memory bound.
using System.Runtime.Intrinsics;

namespace DiffusionCore.Kernels.Host;

/// <summary>Conversions between 16-bit floats and F32 over dense arrays.</summary>
public static unsafe class HalfConversion
{
    private const int ChunkElements = 16384;

    public static void F16ToF32(WorkerPool pool, ushort* src, float* dst, long n) => Launch(pool, src, dst, n, &WidenF16);

    public static void BF16ToF32(WorkerPool pool, ushort* src, float* dst, long n) => Launch(pool, src, dst, n, &WidenBF16);

    public static void F32ToF16(WorkerPool pool, float* src, ushort* dst, long n) => Launch(pool, src, dst, n, &NarrowF16);

    public static void F32ToBF16(WorkerPool pool, float* src, ushort* dst, long n) => Launch(pool, src, dst, n, &NarrowBF16);

    /// <summary>On the caller's thread.</summary>
    public static void F32ToF16(float* src, ushort* dst, long n) => NarrowF16(src, dst, 0, n);

    /// <summary>On the caller's thread.</summary>
    public static void F32ToBF16(float* src, ushort* dst, long n) => NarrowBF16(src, dst, 0, n);

    private struct Arguments
    {
        public void* Source, Target;
        public long Count;
        public delegate*<void*, void*, long, long, void> Body;
    }

    private static void Launch(WorkerPool pool, void* src, void* dst, long n, delegate*<void*, void*, long, long, void> body)
    {
        var a = new Arguments { Source = src, Target = dst, Count = n, Body = body };
        pool.For(checked((int)((n + ChunkElements - 1) / ChunkElements)), &Chunk, &a);
    }

    private static void Chunk(void* state, int item, int worker)
    {
        var a = (Arguments*)state;
        long first = (long)item * ChunkElements;
        a->Body(a->Source, a->Target, first, Math.Min(a->Count, first + ChunkElements));
    }

    private static void WidenF16(void* src, void* dst, long first, long end)
    {
        var s = (ushort*)src;
        var d = (float*)dst;
        long i = first;
        for (; i + 8 <= end; i += 8) WidenF16(WidenBits(s + i)).Store(d + i);
        if (i == end) return;
        ushort* part = stackalloc ushort[8];
        for (int k = 0; k < 8; k++) part[k] = i + k < end ? s[i + k] : (ushort)0;
        var last = WidenF16(WidenBits(part));
        for (int k = 0; i + k < end; k++) d[i + k] = last[k];
    }

    private static void WidenBF16(void* src, void* dst, long first, long end)
    {
        var s = (ushort*)src;
        var d = (float*)dst;
        long i = first;
        for (; i + 8 <= end; i += 8) (WidenBits(s + i) << 16).AsSingle().Store(d + i);
        for (; i < end; i++) d[i] = BitConverter.UInt32BitsToSingle((uint)s[i] << 16);
    }

    private static void NarrowF16(void* src, void* dst, long first, long end) => Narrow((float*)src, (ushort*)dst, first, end, &NarrowF16);

    private static void NarrowBF16(void* src, void* dst, long first, long end) => Narrow((float*)src, (ushort*)dst, first, end, &NarrowBF16);

    private static void Narrow(float* s, ushort* d, long first, long end, delegate*<Vector256<float>, Vector256<uint>> body)
    {
        long i = first;
        for (; i + 8 <= end; i += 8)
        {
            var bits = body(Vector256.Load(s + i));
            Vector128.Narrow(bits.GetLower(), bits.GetUpper()).Store(d + i);
        }

        if (i == end) return;
        float* part = stackalloc float[8];
        for (int k = 0; k < 8; k++) part[k] = i + k < end ? s[i + k] : 0;
        var last = body(Vector256.Load(part));
        for (int k = 0; i + k < end; k++) d[i + k] = (ushort)last[k];
    }

    private static Vector256<uint> WidenBits(ushort* s)
    {
        var (low, high) = Vector128.Widen(Vector128.Load(s));
        return Vector256.Create(low, high);
    }

    // Exponent and mantissa move up 13 bits and the bias grows by 112. A subnormal m*2^-24 is the mantissa of 2^-14*(1 + m/1024) less 2^-14.
    private static Vector256<float> WidenF16(Vector256<uint> h)
    {
        var sign = (h & Vector256.Create(0x8000u)) << 16;
        var magnitude = (h & Vector256.Create(0x7FFFu)) << 13;
        var normal = magnitude + Vector256.Create(112u << 23);
        var special = (magnitude + Vector256.Create(224u << 23)) | (Vector256.GreaterThan(magnitude, Vector256.Create(0x7C00u << 13)) & Vector256.Create(0x400000u));
        var subnormal = ((magnitude + Vector256.Create(113u << 23)).AsSingle() - Vector256.Create(113u << 23).AsSingle()).AsUInt32();
        var result = Vector256.ConditionalSelect(Vector256.GreaterThanOrEqual(magnitude, Vector256.Create(0x7C00u << 13)), special, normal);
        result = Vector256.ConditionalSelect(Vector256.LessThan(magnitude, Vector256.Create(0x0400u << 13)), subnormal, result);
        return (result | sign).AsSingle();
    }

    // Below 2^-14, adding 1/2 leaves the half's bits at the bottom of the sum, rounded: the last bit of [1/2, 1) is 2^-24.
    private static Vector256<uint> NarrowF16(Vector256<float> f)
    {
        var bits = f.AsUInt32();
        var sign = (bits >>> 16) & Vector256.Create(0x8000u);
        var magnitude = bits & Vector256.Create(0x7FFFFFFFu);
        var odd = (magnitude >>> 13) & Vector256<uint>.One;
        var normal = (magnitude - Vector256.Create(112u << 23) + Vector256.Create(0xFFFu) + odd) >>> 13;
        var half = Vector256.Create(0.5f);
        var subnormal = (magnitude.AsSingle() + half).AsUInt32() - half.AsUInt32();
        var nan = Vector256.Create(0x7E00u) | ((magnitude >>> 13) & Vector256.Create(0x1FFu));
        var result = Vector256.ConditionalSelect(Vector256.LessThan(magnitude, Vector256.Create(113u << 23)), subnormal, normal);
        result = Vector256.ConditionalSelect(Vector256.GreaterThanOrEqual(magnitude, Vector256.Create(0x477FF000u)), Vector256.Create(0x7C00u), result);
        result = Vector256.ConditionalSelect(Vector256.GreaterThan(magnitude, Vector256.Create(0x7F800000u)), nan, result);
        return result | sign;
    }

    private static Vector256<uint> NarrowBF16(Vector256<float> f)
    {
        var bits = f.AsUInt32();
        var rounded = (bits + Vector256.Create(0x7FFFu) + ((bits >>> 16) & Vector256<uint>.One)) >>> 16;
        var nan = (bits >>> 16) | Vector256.Create(0x40u);
        return Vector256.ConditionalSelect(Vector256.GreaterThan(bits & Vector256.Create(0x7FFFFFFFu), Vector256.Create(0x7F800000u)), nan, rounded);
    }
}
