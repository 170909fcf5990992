// Transposed 2-D convolution, channels last: the gradient of a strided convolution with respect to its input, gathered.
//
//   y[n, i, j, o] = sum over taps (r, q) and channels c of x[n, u, v, c] W[c, o, r, q] where u*sh - pt + r*dh = i and v*sw - pl + q*dw = j
//   x: [N, H, W, C], W: [C, O/groups, kh, kw] as the file has it, y: [N, OH, OW, O]
//
// Work split  one thread per element of y.
// Numerics    float sums, tap by tap and channel by channel.
// Roofline    2 N H W C O/groups kh kw flops on as many loads from cache: bound by loads. First stages use it once per resolution.
using ILGPU;

namespace DiffusionCore.Kernels;

public static class TransposedConvolutionKernel
{
    /// <param name="bias">Any view where <paramref name="hasBias"/> is 0.</param>
    [GpuKernel]
    public static void Run(ArrayView<float> x, ArrayView<float> w, ArrayView<float> bias, ArrayView<float> y, ConvolutionKernels.Shape s, int hasBias)
    {
        int index = Grid.GlobalIndex.X;
        if (index >= s.Pixels * s.Outputs) return;
        int output = index % s.Outputs, pixel = index / s.Outputs, column = pixel % s.OutWidth, row = pixel / s.OutWidth % s.OutHeight, image = pixel / s.OutWidth / s.OutHeight;
        int outputs = s.Outputs / s.Groups, inputs = s.Channels / s.Groups, first = output / outputs * inputs, taps = s.KernelH * s.KernelW;
        float sum = hasBias != 0 ? bias[output] : 0f;
        for (int r = 0; r < s.KernelH; r++)
        {
            int u = row + s.PadTop - r * s.DilationH;
            if (u < 0 || u % s.StrideH != 0 || u / s.StrideH >= s.Height) continue;
            for (int q = 0; q < s.KernelW; q++)
            {
                int v = column + s.PadLeft - q * s.DilationW;
                if (v < 0 || v % s.StrideW != 0 || v / s.StrideW >= s.Width) continue;
                int at = ((image * s.Height + u / s.StrideH) * s.Width + v / s.StrideW) * s.Channels + first;
                int weight = (first * outputs + output % outputs) * taps + r * s.KernelW + q;
                for (int k = 0; k < inputs; k++) sum = x[at + k] * w[weight + k * outputs * taps] + sum;
            }
        }

        y[index] = sum;
    }
}
