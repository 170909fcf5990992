// Functions of one and of two numbers, element by element.
//
//   unary   y = f(x)          affine  y = a x + b
//   binary  y = f(a, b), numpy broadcasting up to six axes
//   geglu   y = x[:H] gelu(x[H:]);  x: [rows, 2H], y: [rows, H]
//
// Work split  one thread per element of y.
// Numerics    float, functions of FloatMath; Max and Min give NaN where either operand is NaN.
// Roofline    8 to 12 bytes per element: memory bound; broadcasting costs five integer divisions on top.
using ILGPU;

namespace DiffusionCore.Kernels;

public static class ElementwiseKernels
{
    [GpuKernel]
    public static void Unary(ArrayView<float> x, ArrayView<float> y, int count, int function)
    {
        int i = Grid.GlobalIndex.X;
        if (i < count) y[i] = Function.Unary(function, x[i]);
    }

    [GpuKernel]
    public static void Affine(ArrayView<float> x, ArrayView<float> y, int count, float a, float b)
    {
        int i = Grid.GlobalIndex.X;
        if (i < count) y[i] = a * x[i] + b;
    }

    [GpuKernel]
    public static void Binary(ArrayView<float> a, ArrayView<float> b, ArrayView<float> y, int count, int function, Strides s)
    {
        int i = Grid.GlobalIndex.X;
        if (i >= count) return;
        var at = Strides.Offsets(s, i);
        y[i] = Function.Binary(function, a[at.A], b[at.B]);
    }

    [GpuKernel]
    public static void Geglu(ArrayView<float> x, ArrayView<float> y, int count, int half)
    {
        int i = Grid.GlobalIndex.X;
        if (i >= count) return;
        int at = i / half * 2 * half + i % half;
        y[i] = x[at] * FloatMath.Gelu(x[at + half]);
    }
}
