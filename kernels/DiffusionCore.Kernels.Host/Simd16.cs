// Sixteen float lanes, the unit in which every element-wise and reducing host kernel is written.
//
// A kernel is written once, generic over ISimd16, and instantiated for three structs: one 512-bit vector, two 256-bit
// vectors, sixteen scalars. The struct is known to the compiler, so each instantiation is straight machine code.
// All three perform the same IEEE operations in the same order per lane, which is what makes the bytes of a result
// independent of the instruction set. Multiply-add is explicit: no compiler may contract or split it.
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace DiffusionCore.Kernels.Host;

/// <summary>Sixteen single-precision lanes. Every member acts lane by lane except <see cref="ReduceAdd"/> and <see cref="ReduceMax"/>.</summary>
public unsafe interface ISimd16<TSelf>
    where TSelf : unmanaged, ISimd16<TSelf>
{
    static abstract TSelf Create(float value);
    static abstract TSelf Load(float* src);
    static abstract void Store(TSelf value, float* dst);

    /// <summary>A store past the caches; dst must be aligned to 64 bytes. <see cref="HostIsa.FenceStores"/> before another thread reads.</summary>
    static abstract void StoreStreaming(TSelf value, float* dst);
    static abstract TSelf operator +(TSelf a, TSelf b);
    static abstract TSelf operator -(TSelf a, TSelf b);
    static abstract TSelf operator *(TSelf a, TSelf b);
    static abstract TSelf operator /(TSelf a, TSelf b);

    /// <summary>a*b + c with one rounding.</summary>
    static abstract TSelf MultiplyAdd(TSelf a, TSelf b, TSelf c);

    /// <summary>c - a*b with one rounding.</summary>
    static abstract TSelf NegatedMultiplyAdd(TSelf a, TSelf b, TSelf c);

    /// <summary>a &gt; b ? a : b, so b where either is NaN (the rule of the x86 instruction).</summary>
    static abstract TSelf Max(TSelf a, TSelf b);

    /// <summary>a &lt; b ? a : b, so b where either is NaN.</summary>
    static abstract TSelf Min(TSelf a, TSelf b);
    static abstract TSelf Sqrt(TSelf a);
    static abstract TSelf Abs(TSelf a);

    /// <summary>Nearest integer, ties to even.</summary>
    static abstract TSelf Round(TSelf a);

    /// <summary>a * 2^n for integral n in [-252, 254]; exact where the result is a normal number or overflows.</summary>
    static abstract TSelf Scale(TSelf a, TSelf n);

    /// <summary>a &gt; b ? x : y; y where either is NaN.</summary>
    static abstract TSelf SelectGreater(TSelf a, TSelf b, TSelf x, TSelf y);

    /// <summary>Splits positive normal a into mantissa in [1, 2) and unbiased exponent: a = m * 2^e.</summary>
    static abstract TSelf Decompose(TSelf a, out TSelf exponent);

    /// <summary>Sum over lanes as a tree: i + (i+8), then +4, +2, +1.</summary>
    static abstract float ReduceAdd(TSelf a);

    /// <summary>Largest lane, by the tree of <see cref="ReduceAdd"/>.</summary>
    static abstract float ReduceMax(TSelf a);
}

/// <summary>One 512-bit register (AVX-512F).</summary>
public readonly unsafe struct Simd16Avx512(Vector512<float> value) : ISimd16<Simd16Avx512>
{
    private readonly Vector512<float> v = value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Simd16Avx512 Create(float value) => new(Vector512.Create(value));
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Simd16Avx512 Load(float* src) => new(Vector512.Load(src));
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Simd16Avx512 value, float* dst) => value.v.Store(dst);
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreStreaming(Simd16Avx512 value, float* dst) => value.v.StoreAlignedNonTemporal(dst);
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Simd16Avx512 operator +(Simd16Avx512 a, Simd16Avx512 b) => new(Avx512F.Add(a.v, b.v));
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Simd16Avx512 operator -(Simd16Avx512 a, Simd16Avx512 b) => new(Avx512F.Subtract(a.v, b.v));
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Simd16Avx512 operator *(Simd16Avx512 a, Simd16Avx512 b) => new(Avx512F.Multiply(a.v, b.v));
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Simd16Avx512 operator /(Simd16Avx512 a, Simd16Avx512 b) => new(Avx512F.Divide(a.v, b.v));
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Simd16Avx512 MultiplyAdd(Simd16Avx512 a, Simd16Avx512 b, Simd16Avx512 c) => new(Avx512F.FusedMultiplyAdd(a.v, b.v, c.v));
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Simd16Avx512 NegatedMultiplyAdd(Simd16Avx512 a, Simd16Avx512 b, Simd16Avx512 c) => new(Avx512F.FusedMultiplyAddNegated(a.v, b.v, c.v));
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Simd16Avx512 Max(Simd16Avx512 a, Simd16Avx512 b) => new(Avx512F.Max(a.v, b.v));
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Simd16Avx512 Min(Simd16Avx512 a, Simd16Avx512 b) => new(Avx512F.Min(a.v, b.v));
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Simd16Avx512 Sqrt(Simd16Avx512 a) => new(Avx512F.Sqrt(a.v));
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Simd16Avx512 Abs(Simd16Avx512 a) => new(Vector512.Abs(a.v));
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Simd16Avx512 Round(Simd16Avx512 a) => new(Avx512F.RoundScale(a.v, 0));
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Simd16Avx512 Scale(Simd16Avx512 a, Simd16Avx512 n) => new(Avx512F.Scale(a.v, n.v));
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Simd16Avx512 SelectGreater(Simd16Avx512 a, Simd16Avx512 b, Simd16Avx512 x, Simd16Avx512 y) =>
        new(Vector512.ConditionalSelect(Vector512.GreaterThan(a.v, b.v), x.v, y.v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Simd16Avx512 Decompose(Simd16Avx512 a, out Simd16Avx512 exponent)
    {
        var bits = a.v.AsInt32();
        exponent = new(Avx512F.ConvertToVector512Single((bits >>> 23) - Vector512.Create(127)));
        return new(((bits & Vector512.Create(0x7FFFFF)) | Vector512.Create(0x3F800000)).AsSingle());
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float ReduceAdd(Simd16Avx512 a) => Simd16Avx2.ReduceAdd8(Avx.Add(a.v.GetLower(), a.v.GetUpper()));
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float ReduceMax(Simd16Avx512 a) => Simd16Avx2.ReduceMax8(Avx.Max(a.v.GetLower(), a.v.GetUpper()));
}

/// <summary>Two 256-bit registers (AVX2 + FMA).</summary>
public readonly unsafe struct Simd16Avx2(Vector256<float> low, Vector256<float> high) : ISimd16<Simd16Avx2>
{
    private readonly Vector256<float> lo = low;
    private readonly Vector256<float> hi = high;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Simd16Avx2 Create(float value) { var x = Vector256.Create(value); return new(x, x); }
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Simd16Avx2 Load(float* src) => new(Vector256.Load(src), Vector256.Load(src + 8));
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Simd16Avx2 value, float* dst) { value.lo.Store(dst); value.hi.Store(dst + 8); }
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreStreaming(Simd16Avx2 value, float* dst) { value.lo.StoreAlignedNonTemporal(dst); value.hi.StoreAlignedNonTemporal(dst + 8); }
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Simd16Avx2 operator +(Simd16Avx2 a, Simd16Avx2 b) => new(Avx.Add(a.lo, b.lo), Avx.Add(a.hi, b.hi));
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Simd16Avx2 operator -(Simd16Avx2 a, Simd16Avx2 b) => new(Avx.Subtract(a.lo, b.lo), Avx.Subtract(a.hi, b.hi));
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Simd16Avx2 operator *(Simd16Avx2 a, Simd16Avx2 b) => new(Avx.Multiply(a.lo, b.lo), Avx.Multiply(a.hi, b.hi));
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Simd16Avx2 operator /(Simd16Avx2 a, Simd16Avx2 b) => new(Avx.Divide(a.lo, b.lo), Avx.Divide(a.hi, b.hi));
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Simd16Avx2 MultiplyAdd(Simd16Avx2 a, Simd16Avx2 b, Simd16Avx2 c) => new(Fma.MultiplyAdd(a.lo, b.lo, c.lo), Fma.MultiplyAdd(a.hi, b.hi, c.hi));
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Simd16Avx2 NegatedMultiplyAdd(Simd16Avx2 a, Simd16Avx2 b, Simd16Avx2 c) =>
        new(Fma.MultiplyAddNegated(a.lo, b.lo, c.lo), Fma.MultiplyAddNegated(a.hi, b.hi, c.hi));
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Simd16Avx2 Max(Simd16Avx2 a, Simd16Avx2 b) => new(Avx.Max(a.lo, b.lo), Avx.Max(a.hi, b.hi));
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Simd16Avx2 Min(Simd16Avx2 a, Simd16Avx2 b) => new(Avx.Min(a.lo, b.lo), Avx.Min(a.hi, b.hi));
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Simd16Avx2 Sqrt(Simd16Avx2 a) => new(Avx.Sqrt(a.lo), Avx.Sqrt(a.hi));
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Simd16Avx2 Abs(Simd16Avx2 a) => new(Vector256.Abs(a.lo), Vector256.Abs(a.hi));
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Simd16Avx2 Round(Simd16Avx2 a) => new(Avx.RoundToNearestInteger(a.lo), Avx.RoundToNearestInteger(a.hi));
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Simd16Avx2 Scale(Simd16Avx2 a, Simd16Avx2 n) => new(Scale8(a.lo, n.lo), Scale8(a.hi, n.hi));

    // 2^n is built in two factors because its exponent may not fit one float where the product does.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Scale8(Vector256<float> a, Vector256<float> n)
    {
        var e = Avx.ConvertToVector256Int32(n);
        var half = Avx2.ShiftRightArithmetic(e, 1);
        var bias = Vector256.Create(127);
        var first = Avx2.ShiftLeftLogical(Avx2.Add(half, bias), 23).AsSingle();
        var second = Avx2.ShiftLeftLogical(Avx2.Add(Avx2.Subtract(e, half), bias), 23).AsSingle();
        return Avx.Multiply(Avx.Multiply(a, first), second);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Simd16Avx2 SelectGreater(Simd16Avx2 a, Simd16Avx2 b, Simd16Avx2 x, Simd16Avx2 y) =>
        new(Avx.BlendVariable(y.lo, x.lo, Avx.CompareGreaterThan(a.lo, b.lo)), Avx.BlendVariable(y.hi, x.hi, Avx.CompareGreaterThan(a.hi, b.hi)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Simd16Avx2 Decompose(Simd16Avx2 a, out Simd16Avx2 exponent)
    {
        exponent = new(Exponent8(a.lo), Exponent8(a.hi));
        return new(Mantissa8(a.lo), Mantissa8(a.hi));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Exponent8(Vector256<float> a) =>
        Avx.ConvertToVector256Single(Avx2.Subtract(Avx2.ShiftRightLogical(a.AsInt32(), 23), Vector256.Create(127)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Mantissa8(Vector256<float> a) =>
        Avx2.Or(Avx2.And(a.AsInt32(), Vector256.Create(0x7FFFFF)), Vector256.Create(0x3F800000)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float ReduceAdd(Simd16Avx2 a) => ReduceAdd8(Avx.Add(a.lo, a.hi));
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float ReduceMax(Simd16Avx2 a) => ReduceMax8(Avx.Max(a.lo, a.hi));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static float ReduceAdd8(Vector256<float> a)
    {
        var q = Sse.Add(a.GetLower(), a.GetUpper());
        q = Sse.Add(q, Sse.MoveHighToLow(q, q));
        return Sse.AddScalar(q, Sse.Shuffle(q, q, 1)).ToScalar();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static float ReduceMax8(Vector256<float> a)
    {
        var q = Sse.Max(a.GetLower(), a.GetUpper());
        q = Sse.Max(q, Sse.MoveHighToLow(q, q));
        return Sse.MaxScalar(q, Sse.Shuffle(q, q, 1)).ToScalar();
    }
}

/// <summary>Sixteen scalars: the definition that the vector forms must reproduce, and the path of any other processor.</summary>
public unsafe struct Simd16Scalar : ISimd16<Simd16Scalar>
{
    private fixed float x[16];

    public static Simd16Scalar Create(float value)
    {
        Simd16Scalar r;
        for (int i = 0; i < 16; i++) r.x[i] = value;
        return r;
    }

    public static Simd16Scalar Load(float* src)
    {
        Simd16Scalar r;
        for (int i = 0; i < 16; i++) r.x[i] = src[i];
        return r;
    }

    public static void Store(Simd16Scalar value, float* dst)
    {
        for (int i = 0; i < 16; i++) dst[i] = value.x[i];
    }

    public static void StoreStreaming(Simd16Scalar value, float* dst) => Store(value, dst);

    public static Simd16Scalar operator +(Simd16Scalar a, Simd16Scalar b)
    {
        for (int i = 0; i < 16; i++) a.x[i] += b.x[i];
        return a;
    }

    public static Simd16Scalar operator -(Simd16Scalar a, Simd16Scalar b)
    {
        for (int i = 0; i < 16; i++) a.x[i] -= b.x[i];
        return a;
    }

    public static Simd16Scalar operator *(Simd16Scalar a, Simd16Scalar b)
    {
        for (int i = 0; i < 16; i++) a.x[i] *= b.x[i];
        return a;
    }

    public static Simd16Scalar operator /(Simd16Scalar a, Simd16Scalar b)
    {
        for (int i = 0; i < 16; i++) a.x[i] /= b.x[i];
        return a;
    }

    public static Simd16Scalar MultiplyAdd(Simd16Scalar a, Simd16Scalar b, Simd16Scalar c)
    {
        for (int i = 0; i < 16; i++) c.x[i] = MathF.FusedMultiplyAdd(a.x[i], b.x[i], c.x[i]);
        return c;
    }

    public static Simd16Scalar NegatedMultiplyAdd(Simd16Scalar a, Simd16Scalar b, Simd16Scalar c)
    {
        for (int i = 0; i < 16; i++) c.x[i] = MathF.FusedMultiplyAdd(-a.x[i], b.x[i], c.x[i]);
        return c;
    }

    public static Simd16Scalar Max(Simd16Scalar a, Simd16Scalar b)
    {
        for (int i = 0; i < 16; i++) b.x[i] = a.x[i] > b.x[i] ? a.x[i] : b.x[i];
        return b;
    }

    public static Simd16Scalar Min(Simd16Scalar a, Simd16Scalar b)
    {
        for (int i = 0; i < 16; i++) b.x[i] = a.x[i] < b.x[i] ? a.x[i] : b.x[i];
        return b;
    }

    public static Simd16Scalar Sqrt(Simd16Scalar a)
    {
        for (int i = 0; i < 16; i++) a.x[i] = MathF.Sqrt(a.x[i]);
        return a;
    }

    public static Simd16Scalar Abs(Simd16Scalar a)
    {
        for (int i = 0; i < 16; i++) a.x[i] = MathF.Abs(a.x[i]);
        return a;
    }

    public static Simd16Scalar Round(Simd16Scalar a)
    {
        for (int i = 0; i < 16; i++) a.x[i] = MathF.Round(a.x[i], MidpointRounding.ToEven);
        return a;
    }

    public static Simd16Scalar Scale(Simd16Scalar a, Simd16Scalar n)
    {
        for (int i = 0; i < 16; i++)
        {
            int e = (int)n.x[i], half = e >> 1;
            a.x[i] = a.x[i] * BitConverter.Int32BitsToSingle((half + 127) << 23) * BitConverter.Int32BitsToSingle((e - half + 127) << 23);
        }
        return a;
    }

    public static Simd16Scalar SelectGreater(Simd16Scalar a, Simd16Scalar b, Simd16Scalar x, Simd16Scalar y)
    {
        for (int i = 0; i < 16; i++) if (a.x[i] > b.x[i]) y.x[i] = x.x[i];
        return y;
    }

    public static Simd16Scalar Decompose(Simd16Scalar a, out Simd16Scalar exponent)
    {
        Simd16Scalar e;
        for (int i = 0; i < 16; i++)
        {
            int bits = BitConverter.SingleToInt32Bits(a.x[i]);
            e.x[i] = (int)((uint)bits >> 23) - 127;
            a.x[i] = BitConverter.Int32BitsToSingle((bits & 0x7FFFFF) | 0x3F800000);
        }
        exponent = e;
        return a;
    }

    public static float ReduceAdd(Simd16Scalar a)
    {
        for (int step = 8; step > 0; step >>= 1)
            for (int i = 0; i < step; i++) a.x[i] += a.x[i + step];
        return a.x[0];
    }

    public static float ReduceMax(Simd16Scalar a)
    {
        for (int step = 8; step > 0; step >>= 1)
            for (int i = 0; i < step; i++) a.x[i] = a.x[i] > a.x[i + step] ? a.x[i] : a.x[i + step];
        return a.x[0];
    }
}
