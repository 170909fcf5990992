using System.Runtime.CompilerServices;

namespace DiffusionCore.Kernels.Host;

/// <summary>A function of one variable as a type, so that a loop over it compiles to straight code.</summary>
internal interface IUnaryFunction
{
    static abstract V Apply<V>(V x)
        where V : unmanaged, ISimd16<V>;
}

internal static class UnaryFunctions
{
    internal readonly struct Identity : IUnaryFunction
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static V Apply<V>(V x)
            where V : unmanaged, ISimd16<V> => x;
    }

    internal readonly struct Exp : IUnaryFunction
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static V Apply<V>(V x)
            where V : unmanaged, ISimd16<V> => VectorMath.Exp(x);
    }

    internal readonly struct Exp2 : IUnaryFunction
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static V Apply<V>(V x)
            where V : unmanaged, ISimd16<V> => VectorMath.Exp2(x);
    }

    internal readonly struct Log : IUnaryFunction
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static V Apply<V>(V x)
            where V : unmanaged, ISimd16<V> => VectorMath.Log(x);
    }

    internal readonly struct Sigmoid : IUnaryFunction
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static V Apply<V>(V x)
            where V : unmanaged, ISimd16<V> => VectorMath.Sigmoid(x);
    }

    internal readonly struct Silu : IUnaryFunction
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static V Apply<V>(V x)
            where V : unmanaged, ISimd16<V> => VectorMath.Silu(x);
    }

    internal readonly struct Tanh : IUnaryFunction
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static V Apply<V>(V x)
            where V : unmanaged, ISimd16<V> => VectorMath.Tanh(x);
    }

    internal readonly struct Erf : IUnaryFunction
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static V Apply<V>(V x)
            where V : unmanaged, ISimd16<V> => VectorMath.Erf(x);
    }

    internal readonly struct Gelu : IUnaryFunction
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static V Apply<V>(V x)
            where V : unmanaged, ISimd16<V> => VectorMath.Gelu(x);
    }

    internal readonly struct GeluTanh : IUnaryFunction
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static V Apply<V>(V x)
            where V : unmanaged, ISimd16<V> => VectorMath.GeluTanh(x);
    }

    internal readonly struct QuickGelu : IUnaryFunction
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static V Apply<V>(V x)
            where V : unmanaged, ISimd16<V> => VectorMath.QuickGelu(x);
    }

    internal readonly struct Sin : IUnaryFunction
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static V Apply<V>(V x)
            where V : unmanaged, ISimd16<V> => VectorMath.Sin(x);
    }

    internal readonly struct Cos : IUnaryFunction
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static V Apply<V>(V x)
            where V : unmanaged, ISimd16<V> => VectorMath.Cos(x);
    }

    internal readonly struct Relu : IUnaryFunction
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static V Apply<V>(V x)
            where V : unmanaged, ISimd16<V> => V.Max(V.Create(0f), x);
    }

    internal readonly struct Sqrt : IUnaryFunction
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static V Apply<V>(V x)
            where V : unmanaged, ISimd16<V> => V.Sqrt(x);
    }

    internal readonly struct Negate : IUnaryFunction
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static V Apply<V>(V x)
            where V : unmanaged, ISimd16<V> => V.Create(-0f) - x;
    }

    internal readonly struct Abs : IUnaryFunction
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static V Apply<V>(V x)
            where V : unmanaged, ISimd16<V> => V.Abs(x);
    }

    internal readonly struct Square : IUnaryFunction
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static V Apply<V>(V x)
            where V : unmanaged, ISimd16<V> => x * x;
    }

    internal readonly struct Reciprocal : IUnaryFunction
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static V Apply<V>(V x)
            where V : unmanaged, ISimd16<V> => V.Create(1f) / x;
    }

    internal readonly struct Softplus : IUnaryFunction
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static V Apply<V>(V x)
            where V : unmanaged, ISimd16<V> => VectorMath.Softplus(x);
    }
}
