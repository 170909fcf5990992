// y[i] = f(x[i]); y = a x + b.
//
// Work split  chunks of 8192 elements; a chunk's tail goes through a padded buffer of one vector.
// Roofline    8 bytes moved per element; up to about 40 flops (gelu): memory bound beyond the caches.
namespace DiffusionCore.Kernels.Host;

/// <summary>Element-wise functions over dense arrays; y may be x.</summary>
public static unsafe class UnaryKernel
{
    private const int ChunkElements = 8192;

    /// <param name="n">Elements.</param>
    public static void Run(WorkerPool pool, Unary function, float* x, float* y, long n)
    {
        var a = new Arguments { X = x, Y = y, Count = n, Function = function };
        Launch(pool, ref a);
    }

    /// <summary>y = scale*x + shift with one rounding.</summary>
    public static void RunAffine(WorkerPool pool, float scale, float shift, float* x, float* y, long n)
    {
        var a = new Arguments { X = x, Y = y, Count = n, Affine = true, Scale = scale, Shift = shift };
        Launch(pool, ref a);
    }

    private static void Launch(WorkerPool pool, ref Arguments arguments)
    {
        fixed (Arguments* a = &arguments)
        {
            int chunks = checked((int)((a->Count + ChunkElements - 1) / ChunkElements));
            switch (HostIsa.Active)
            {
                case Isa.Avx512: pool.For(chunks, &Chunk<Simd16Avx512>, a); break;
                case Isa.Avx2: pool.For(chunks, &Chunk<Simd16Avx2>, a); break;
                default: pool.For(chunks, &Chunk<Simd16Scalar>, a); break;
            }
        }
    }

    private struct Arguments
    {
        public float* X, Y;
        public long Count;
        public Unary Function;
        public bool Affine;
        public float Scale, Shift;
    }

    private static void Chunk<V>(void* state, int item, int worker)
        where V : unmanaged, ISimd16<V>
    {
        var a = (Arguments*)state;
        long first = (long)item * ChunkElements;
        int n = (int)Math.Min(ChunkElements, a->Count - first);
        Apply<V>(*a, a->X + first, a->Y + first, n);
    }

    /// <summary>One run of elements on one thread.</summary>
    internal static void Apply<V>(Unary function, float* x, float* y, int n)
        where V : unmanaged, ISimd16<V> => Apply<V>(new Arguments { Function = function }, x, y, n);

    private static void Apply<V>(in Arguments a, float* x, float* y, int n)
        where V : unmanaged, ISimd16<V>
    {
        float* tail = stackalloc float[16];
        for (int i = 0; i < n; i += 16)
        {
            int left = n - i;
            V v;
            if (left >= 16)
            {
                v = V.Load(x + i);
            }
            else
            {
                for (int k = 0; k < 16; k++) tail[k] = k < left ? x[i + k] : 1;
                v = V.Load(tail);
            }

            v = a.Affine ? V.MultiplyAdd(V.Create(a.Scale), v, V.Create(a.Shift)) : One(a.Function, v);
            if (left >= 16)
            {
                V.Store(v, y + i);
            }
            else
            {
                V.Store(v, tail);
                for (int k = 0; k < left; k++) y[i + k] = tail[k];
            }
        }
    }

    private static V One<V>(Unary function, V x)
        where V : unmanaged, ISimd16<V> => function switch
        {
            Unary.Silu => VectorMath.Silu(x),
            Unary.Relu => V.Max(V.Create(0f), x),
            Unary.Gelu => VectorMath.Gelu(x),
            Unary.GeluTanh => VectorMath.GeluTanh(x),
            Unary.QuickGelu => VectorMath.QuickGelu(x),
            Unary.Sigmoid => VectorMath.Sigmoid(x),
            Unary.Tanh => VectorMath.Tanh(x),
            Unary.Exp => VectorMath.Exp(x),
            Unary.Log => VectorMath.Log(x),
            Unary.Sin => VectorMath.Sin(x),
            Unary.Cos => VectorMath.Cos(x),
            Unary.Sqrt => V.Sqrt(x),
            Unary.Neg => V.Create(-0f) - x,
            Unary.Abs => V.Abs(x),
            Unary.Erf => VectorMath.Erf(x),
            Unary.Reciprocal => V.Create(1f) / x,
            Unary.Softplus => VectorMath.Softplus(x),
            _ => x * x,
        };
}
