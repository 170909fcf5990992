// Largest value of a window, channels last.
//
//   y[n, i, j, c] = max over the window's real pixels of x;  x: [N, H, W, C], y: [N, OH, OW, C].
//
// Work split  output rows.
// Numerics    exact; where a window holds NaN, NaN unless a later pixel of the window replaces it (the rule of Simd16.Max). A window of border alone is -inf.
// Roofline    memory bound.
namespace DiffusionCore.Kernels.Host;

/// <summary>Max pooling.</summary>
public static unsafe class MaxPool
{
    public static void Run(WorkerPool pool, in WindowShape shape, float* x, float* y)
    {
        var s = new Arguments { X = x, Y = y, Shape = shape };
        int rows = shape.Batch * shape.OutHeight;
        switch (pool.Isa)
        {
            case Isa.Avx512: pool.For(rows, &Row<Simd16Avx512>, &s); break;
            case Isa.Avx2: pool.For(rows, &Row<Simd16Avx2>, &s); break;
            default: pool.For(rows, &Row<Simd16Scalar>, &s); break;
        }
    }

    private struct Arguments
    {
        public float* X, Y;
        public WindowShape Shape;
    }

    private static void Row<V>(void* state, int item, int worker)
        where V : unmanaged, ISimd16<V>
    {
        var a = (Arguments*)state;
        ref readonly var s = ref a->Shape;
        int dh = Math.Max(1, s.DilationH), dw = Math.Max(1, s.DilationW);
        long ldx = s.LdX == 0 ? s.Channels : s.LdX, ldy = s.LdY == 0 ? s.Channels : s.LdY;
        int top = item % s.OutHeight * s.StrideH - s.PadTop;
        float* map = a->X + (long)(item / s.OutHeight) * s.Height * s.Width * ldx;
        float* y = a->Y + (long)item * s.OutWidth * ldy;
        for (int j = 0; j < s.OutWidth; j++, y += ldy)
        {
            int left = j * s.StrideW - s.PadLeft, c = 0;
            for (; c + 16 <= s.Channels; c += 16)
            {
                V best = V.Create(float.NegativeInfinity);
                for (int p = 0, r = top; p < s.KernelH; p++, r += dh)
                {
                    if (r < 0 || r >= s.Height) continue;
                    for (int k = 0, q = left; k < s.KernelW; k++, q += dw)
                        if (q >= 0 && q < s.Width) best = V.Max(best, V.Load(map + ((long)r * s.Width + q) * ldx + c));
                }

                V.Store(best, y + c);
            }

            for (; c < s.Channels; c++)
            {
                float best = float.NegativeInfinity;
                for (int p = 0, r = top; p < s.KernelH; p++, r += dh)
                {
                    if (r < 0 || r >= s.Height) continue;
                    for (int k = 0, q = left; k < s.KernelW; k++, q += dw)
                    {
                        if (q < 0 || q >= s.Width) continue;
                        float value = map[((long)r * s.Width + q) * ldx + c];
                        best = best > value ? best : value;
                    }
                }

                y[c] = best;
            }
        }
    }
}
