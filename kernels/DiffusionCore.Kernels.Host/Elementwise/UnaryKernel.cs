// y[i] = f(x[i]); y = a x + b.
//
// Work split  chunks of 8192 elements; a chunk's tail goes through a padded buffer of one vector.
// Numerics    see VectorMath; an element's bytes do not depend on where in the array it stands.
// Roofline    8 bytes moved per element; up to about 40 flops (gelu): memory bound beyond the caches.
// Ladder      v1 chose the function by a switch per vector; v2, this one, makes it a type argument and the loop straight code.
using System.Runtime.CompilerServices;

namespace DiffusionCore.Kernels.Host;

/// <summary>Element-wise functions over dense arrays; y may be x.</summary>
public static unsafe class UnaryKernel
{
    private const int ChunkElements = 8192;

    /// <param name="n">Elements.</param>
    public static void Run(WorkerPool pool, Unary function, float* x, float* y, long n)
    {
        var a = new Arguments { X = x, Y = y, Count = n };
        switch (function)
        {
            case Unary.Silu: Launch<UnaryFunctions.Silu>(pool, ref a); break;
            case Unary.Relu: Launch<UnaryFunctions.Relu>(pool, ref a); break;
            case Unary.Gelu: Launch<UnaryFunctions.Gelu>(pool, ref a); break;
            case Unary.GeluTanh: Launch<UnaryFunctions.GeluTanh>(pool, ref a); break;
            case Unary.QuickGelu: Launch<UnaryFunctions.QuickGelu>(pool, ref a); break;
            case Unary.Sigmoid: Launch<UnaryFunctions.Sigmoid>(pool, ref a); break;
            case Unary.Tanh: Launch<UnaryFunctions.Tanh>(pool, ref a); break;
            case Unary.Exp: Launch<UnaryFunctions.Exp>(pool, ref a); break;
            case Unary.Log: Launch<UnaryFunctions.Log>(pool, ref a); break;
            case Unary.Sin: Launch<UnaryFunctions.Sin>(pool, ref a); break;
            case Unary.Cos: Launch<UnaryFunctions.Cos>(pool, ref a); break;
            case Unary.Sqrt: Launch<UnaryFunctions.Sqrt>(pool, ref a); break;
            case Unary.Neg: Launch<UnaryFunctions.Negate>(pool, ref a); break;
            case Unary.Abs: Launch<UnaryFunctions.Abs>(pool, ref a); break;
            case Unary.Erf: Launch<UnaryFunctions.Erf>(pool, ref a); break;
            case Unary.Reciprocal: Launch<UnaryFunctions.Reciprocal>(pool, ref a); break;
            case Unary.Softplus: Launch<UnaryFunctions.Softplus>(pool, ref a); break;
            case Unary.Square: Launch<UnaryFunctions.Square>(pool, ref a); break;
            default: throw new ArgumentOutOfRangeException(nameof(function), function, "unknown");
        }
    }

    /// <summary>y = scale*x + shift with one rounding.</summary>
    public static void RunAffine(WorkerPool pool, float scale, float shift, float* x, float* y, long n)
    {
        var a = new Arguments { X = x, Y = y, Count = n, Scale = scale, Shift = shift };
        LaunchBody<Linear>(pool, ref a);
    }

    private struct Arguments
    {
        public float* X, Y;
        public long Count;
        public float Scale, Shift;
    }

    /// <summary>A function of one vector and, for the affine map, of the call's two numbers.</summary>
    private interface IBody
    {
        static abstract V Apply<V>(V x, float scale, float shift)
            where V : unmanaged, ISimd16<V>;
    }

    private readonly struct Plain<F> : IBody
        where F : struct, IUnaryFunction
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static V Apply<V>(V x, float scale, float shift)
            where V : unmanaged, ISimd16<V> => F.Apply(x);
    }

    private readonly struct Linear : IBody
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static V Apply<V>(V x, float scale, float shift)
            where V : unmanaged, ISimd16<V> => V.MultiplyAdd(V.Create(scale), x, V.Create(shift));
    }

    private static void Launch<F>(WorkerPool pool, ref Arguments arguments)
        where F : struct, IUnaryFunction => LaunchBody<Plain<F>>(pool, ref arguments);

    private static void LaunchBody<B>(WorkerPool pool, ref Arguments arguments)
        where B : struct, IBody
    {
        fixed (Arguments* a = &arguments)
        {
            int chunks = checked((int)((a->Count + ChunkElements - 1) / ChunkElements));
            switch (pool.Isa)
            {
                case Isa.Avx512: pool.For(chunks, &Chunk<Simd16Avx512, B>, a); break;
                case Isa.Avx2: pool.For(chunks, &Chunk<Simd16Avx2, B>, a); break;
                default: pool.For(chunks, &Chunk<Simd16Scalar, B>, a); break;
            }
        }
    }

    private static void Chunk<V, B>(void* state, int item, int worker)
        where V : unmanaged, ISimd16<V>
        where B : struct, IBody
    {
        var a = (Arguments*)state;
        long first = (long)item * ChunkElements;
        int n = (int)Math.Min(ChunkElements, a->Count - first), i = 0;
        float* x = a->X + first;
        float* y = a->Y + first;
        float scale = a->Scale, shift = a->Shift;
        for (; i + 16 <= n; i += 16) V.Store(B.Apply(V.Load(x + i), scale, shift), y + i);
        if (i == n) return;

        float* tail = stackalloc float[16];
        for (int k = 0; k < 16; k++) tail[k] = i + k < n ? x[i + k] : 1;
        V.Store(B.Apply(V.Load(tail), scale, shift), tail);
        for (int k = 0; i + k < n; k++) y[i + k] = tail[k];
    }
}
