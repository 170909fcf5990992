// Separable resize by tables, channels last.
//
//   y[n, i, j, c] = sum over p < P, q < Q of  v[i, p] * h[j, q] * x[n, r[i, p], s[j, q], c]
//   r, v: rows and weights of each output row, s, h: columns and weights of each output column; nearest has 1 tap, linear 2, cubic 4, antialiased more.
//   x: [N, H, W, C], y: [N, OH, OW, C].
//
// Work split  output rows.
// Numerics    v*h is rounded once, then FMA in row-major order of taps, the same per channel whatever the vector.
// Roofline    2 P Q flops per result against 4 bytes written: memory bound for linear, near the ridge for cubic. Idea: two passes, P + Q instead of P*Q.
namespace DiffusionCore.Kernels.Host;

/// <summary>Which inputs an output position takes, and how much of each: <see cref="Taps"/> entries per position. Weights of a position sum to one.</summary>
public sealed record AxisTable(int Taps, int[] Index, float[] Weight);

/// <summary>Resize by tables.</summary>
public static unsafe class AxisResize
{
    public static void Run(WorkerPool pool, float* x, float* y, int batch, int height, int width, int channels, AxisTable rows, AxisTable columns)
    {
        fixed (int* ri = rows.Index, ci = columns.Index)
        fixed (float* rw = rows.Weight, cw = columns.Weight)
        {
            var s = new Arguments
            {
                X = x, Y = y, RowIndex = ri, ColumnIndex = ci, RowWeight = rw, ColumnWeight = cw, Height = height, Width = width, Channels = channels,
                OutHeight = rows.Index.Length / rows.Taps, OutWidth = columns.Index.Length / columns.Taps, RowTaps = rows.Taps, ColumnTaps = columns.Taps,
            };
            int items = batch * s.OutHeight;
            switch (pool.Isa)
            {
                case Isa.Avx512: pool.For(items, &Row<Simd16Avx512>, &s); break;
                case Isa.Avx2: pool.For(items, &Row<Simd16Avx2>, &s); break;
                default: pool.For(items, &Row<Simd16Scalar>, &s); break;
            }
        }
    }

    private struct Arguments
    {
        public float* X, Y, RowWeight, ColumnWeight;
        public int* RowIndex, ColumnIndex;
        public int Height, Width, Channels, OutHeight, OutWidth, RowTaps, ColumnTaps;
    }

    private static void Row<V>(void* state, int item, int worker)
        where V : unmanaged, ISimd16<V>
    {
        var s = (Arguments*)state;
        int i = item % s->OutHeight, channels = s->Channels;
        float* map = s->X + (long)(item / s->OutHeight) * s->Height * s->Width * channels;
        float* y = s->Y + (long)item * s->OutWidth * channels;
        float* lanes = stackalloc float[16];
        for (int j = 0; j < s->OutWidth; j++, y += channels)
        {
            for (int c = 0; c < channels; c += 16)
            {
                bool whole = c + 16 <= channels;
                int count = Math.Min(16, channels - c);
                V sum = V.Create(0f);
                new Span<float>(lanes, 16).Clear();
                for (int p = 0; p < s->RowTaps; p++)
                {
                    float v = s->RowWeight[i * s->RowTaps + p];
                    float* row = map + (long)s->RowIndex[i * s->RowTaps + p] * s->Width * channels + c;
                    for (int q = 0; q < s->ColumnTaps; q++)
                    {
                        float weight = v * s->ColumnWeight[j * s->ColumnTaps + q];
                        float* x = row + (long)s->ColumnIndex[j * s->ColumnTaps + q] * channels;
                        if (whole) sum = V.MultiplyAdd(V.Create(weight), V.Load(x), sum);
                        else for (int l = 0; l < count; l++) lanes[l] = MathF.FusedMultiplyAdd(weight, x[l], lanes[l]);
                    }
                }

                if (whole) V.Store(sum, y + c);
                else for (int l = 0; l < count; l++) y[c + l] = lanes[l];
            }
        }
    }
}
