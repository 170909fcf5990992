namespace DiffusionCore.Runtime.Passes;

/// <content>Changes of resolution.</content>
public static partial class GradientPass
{
    // Each pixel was repeated: the sum over its copies.
    private static Value Shrunk(Rule r, UpsampleNearestOp op)
    {
        var s = r.X(0).Shape;
        int rows = (int)(op.OutHeight / s[1]), columns = (int)(op.OutWidth / s[2]);
        if (op.OutHeight != s[1] * rows || op.OutWidth != s[2] * columns) throw new GradientException(r.Node, "not every pixel is repeated as often");
        return r.G.Affine(r.G.Add(new AveragePoolOp(rows, columns, rows, columns), r.Dy), rows * columns);
    }

    private static Value Spread(Rule r, AveragePoolOp op)
    {
        var g = r.G;
        Shape x = r.X(0).Shape, y = r.Dy.Shape;
        double share = 1.0 / ((double)op.KernelH * op.KernelW);
        bool padded = op.PadTop + op.PadLeft + op.PadBottom + op.PadRight > 0;
        if (!padded && op.KernelH == x[1] && op.KernelW == x[2]) return g.Expand(g.Affine(r.Dy, share), x);
        if (!padded && op is { DilationH: 1, DilationW: 1 } && op.KernelH == op.StrideH && op.KernelW == op.StrideW && y[1] * op.KernelH == x[1] && y[2] * op.KernelW == x[2])
            return g.Affine(g.UpsampleNearest(r.Dy, (int)x[1], (int)x[2]), share);

        // Windows that overlap, or are cut: each pixel's share by the size of its window, then a transposed convolution with ones.
        var shares = new float[y[1] * y[2]];
        for (int i = 0; i < y[1]; i++)
            for (int j = 0; j < y[2]; j++)
                shares[i * y[2] + j] = 1f / (Counted(i, op.StrideH, op.PadTop, op.PadBottom, op.KernelH, op.DilationH, x[1], op.CountPadding) * Counted(j, op.StrideW, op.PadLeft, op.PadRight, op.KernelW, op.DilationW, x[2], op.CountPadding));
        var ones = new float[x[3] * op.KernelH * op.KernelW];
        Array.Fill(ones, 1);
        var all = g.ConvTranspose2d(
            g.Times(r.Dy, g.Constant(shares, new Shape(1, y[1], y[2], 1))), g.Constant(ones, new Shape(x[3], 1, op.KernelH, op.KernelW)), null,
            new ConvTranspose2dOp(false, op.StrideH, op.StrideW, DilationH: op.DilationH, DilationW: op.DilationW, Groups: (int)x[3]));
        // All rows that windows reach, padding included; those of the map are kept, and what no window reached is zero.
        long missingH = Math.Max(0, op.PadTop + x[1] - all.Shape[1]), missingW = Math.Max(0, op.PadLeft + x[2] - all.Shape[2]);
        if (missingH + missingW > 0) all = g.Add(new PadOp([0, 0, 0, 0], [0, missingH, missingW, 0]), all);
        return g.Slice(g.Slice(all, 1, op.PadTop, x[1]), 2, op.PadLeft, x[2]);
    }

    // Places of a window along one axis that count in its divisor.
    private static int Counted(int index, int stride, int before, int after, int kernel, int dilation, long size, bool countPadding)
    {
        int count = 0;
        for (int k = 0; k < kernel; k++)
        {
            long at = (long)index * stride - before + k * dilation;
            if (at < size + after && (countPadding || (at >= 0 && at < size))) count++;
        }

        return count;
    }

    // The same filter the other way round, with the two factors exchanged.
    private static Value Filtered(Rule r, FirResampleOp op)
    {
        Shape x = r.X(0).Shape, y = r.Dy.Shape;
        int taps = op.Taps.Count, before = taps - 1 - op.PadBefore;
        long after = Math.Max((x[1] - 1) * op.Up + taps - y[1] * op.Down - before, (x[2] - 1) * op.Up + taps - y[2] * op.Down - before);
        if (before < 0) throw new GradientException(r.Node, "the padding is wider than the kernel");
        var back = r.G.Add(new FirResampleOp(new([.. op.Taps.Reverse()]), op.Down, op.Up, before, (int)after), r.Dy);
        // Height and width may leave different rests.
        if (back.Shape[1] > x[1]) back = r.G.Slice(back, 1, 0, x[1]);
        return back.Shape[2] > x[2] ? r.G.Slice(back, 2, 0, x[2]) : back;
    }
}
