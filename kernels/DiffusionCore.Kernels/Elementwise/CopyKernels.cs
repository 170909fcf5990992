// Moves: strided copies, borders, rows of a table, and looking for the row.
//
//   copy    y[to + B.i] = x[from + A.i]: permutation, slice, broadcast, one part of a concatenation
//   pad     y[i] = x[i - before], outside by mode: constant, reflect, edge, wrap
//   gather  y[r, :] = table[ids[r], :];  ids: [rows], table: [V, D], y: [rows, D]. An id outside the table gives zeros and sets a flag.
//   pick    y[n, :] = x[n, t, :], t the first place where ids[n, t] is the wanted one, else 0; or of the largest id
//   code    y[r] = the k with the least |x[r, :] - table[k, :]|^2, the first of equally near ones
//
// Work split  one thread per element of y (copy: of the walk).
// Numerics    code: float sums of squared differences.
// Roofline    memory bound; a permutation reads or writes apart.
using ILGPU;

namespace DiffusionCore.Kernels;

public static class CopyKernels
{
    /// <param name="from">First element read.</param>
    /// <param name="to">First element written.</param>
    [GpuKernel(typeof(byte), typeof(ushort), typeof(uint), typeof(ulong))]
    public static void Copy<T>(ArrayView<T> x, ArrayView<T> y, int count, int from, int to, Strides s)
        where T : unmanaged
    {
        int i = Grid.GlobalIndex.X;
        if (i >= count) return;
        var at = Strides.Offsets(s, i);
        y[to + at.B] = x[from + at.A];
    }

    public const int Constant = 0, Reflect = 1, Edge = 2, Wrap = 3;

    /// <summary>Six axes of y: its extents and what lies before the body on each; extents and strides of x.</summary>
    public struct Border
    {
        public int Count, Mode;
        public float Fill;
        public int Y1, Y2, Y3, Y4, Y5;
        public int Before0, Before1, Before2, Before3, Before4, Before5;
        public int X0, X1, X2, X3, X4, X5;
    }

    [GpuKernel]
    public static void Pad(ArrayView<float> x, ArrayView<float> y, Border p)
    {
        int index = Grid.GlobalIndex.X;
        if (index >= p.Count) return;
        int rest = index;
        int i5 = Inside(rest % p.Y5 - p.Before5, p.X5, p.Mode);
        rest /= p.Y5;
        int i4 = Inside(rest % p.Y4 - p.Before4, p.X4, p.Mode);
        rest /= p.Y4;
        int i3 = Inside(rest % p.Y3 - p.Before3, p.X3, p.Mode);
        rest /= p.Y3;
        int i2 = Inside(rest % p.Y2 - p.Before2, p.X2, p.Mode);
        rest /= p.Y2;
        int i1 = Inside(rest % p.Y1 - p.Before1, p.X1, p.Mode);
        int i0 = Inside(rest / p.Y1 - p.Before0, p.X0, p.Mode);
        bool body = i0 >= 0 && i1 >= 0 && i2 >= 0 && i3 >= 0 && i4 >= 0 && i5 >= 0;
        y[index] = body ? x[((((i0 * p.X1 + i1) * p.X2 + i2) * p.X3 + i3) * p.X4 + i4) * p.X5 + i5] : p.Fill;
    }

    /// <summary>The element that stands at i of n, or -1 for the fill.</summary>
    private static int Inside(int i, int n, int mode)
    {
        if (i >= 0 && i < n) return i;
        if (mode == Constant) return -1;
        if (mode == Edge) return i < 0 ? 0 : n - 1;
        if (mode == Reflect) return i < 0 ? -i : 2 * (n - 1) - i;
        int wrapped = i % n;
        return wrapped < 0 ? wrapped + n : wrapped;
    }

    /// <param name="failed">Its first element becomes 1 where an id is outside the table.</param>
    [GpuKernel]
    public static void GatherWide(ArrayView<long> ids, ArrayView<float> table, ArrayView<float> y, ArrayView<int> failed, int count, int rows, int dim)
    {
        int i = Grid.GlobalIndex.X;
        if (i < count) Row(ids[i / dim], table, y, failed, i, rows, dim);
    }

    [GpuKernel]
    public static void Gather(ArrayView<int> ids, ArrayView<float> table, ArrayView<float> y, ArrayView<int> failed, int count, int rows, int dim)
    {
        int i = Grid.GlobalIndex.X;
        if (i < count) Row(ids[i / dim], table, y, failed, i, rows, dim);
    }

    private static void Row(long id, ArrayView<float> table, ArrayView<float> y, ArrayView<int> failed, int i, int rows, int dim)
    {
        bool inside = id >= 0 && id < rows;
        if (!inside) failed[0] = 1;
        y[i] = inside ? table[(int)id * dim + i % dim] : 0f;
    }

    /// <param name="wanted">The id to look for; -1 for the largest of the text.</param>
    [GpuKernel]
    public static void Pick(ArrayView<float> x, ArrayView<long> ids, ArrayView<float> y, int count, int tokens, int channels, long wanted)
    {
        int i = Grid.GlobalIndex.X;
        if (i >= count) return;
        int text = i / channels, place = 0;
        long best = wanted < 0 ? ids[text * tokens] : wanted;
        if (wanted < 0)
        {
            for (int t = 1; t < tokens; t++)
                if (ids[text * tokens + t] > best) best = ids[text * tokens + t];
        }

        // Backwards, so that the first place of several is the last one seen.
        for (int t = tokens - 1; t >= 0; t--)
            if (ids[text * tokens + t] == best) place = t;
        y[i] = x[(text * tokens + place) * channels + i % channels];
    }

    [GpuKernel]
    public static void NearestCode(ArrayView<float> x, ArrayView<float> table, ArrayView<long> y, int count, int codes, int width)
    {
        int i = Grid.GlobalIndex.X;
        if (i >= count) return;
        float best = float.PositiveInfinity;
        int nearest = 0;
        for (int k = 0; k < codes; k++)
        {
            float distance = 0f;
            for (int d = 0; d < width; d++)
            {
                float difference = x[i * width + d] - table[k * width + d];
                distance = difference * difference + distance;
            }

            if (distance < best)
            {
                best = distance;
                nearest = k;
            }
        }

        y[i] = nearest;
    }
}
