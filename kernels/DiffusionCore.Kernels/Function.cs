using System.Runtime.CompilerServices;

namespace DiffusionCore.Kernels;

/// <summary>
/// Functions of one number, by number: what a kernel is told at launch. The choice is a chain of comparisons on a uniform value, not a switch, which
/// the compiler is known to mistranslate (ILGPU issue 846).
/// </summary>
public static class Function
{
    public const int None = 0, Silu = 1, Relu = 2, Gelu = 3, GeluTanh = 4, QuickGelu = 5, Sigmoid = 6, Tanh = 7;

    public const int Exp = 8, Log = 9, Sin = 10, Cos = 11, Sqrt = 12, Neg = 13, Abs = 14, Erf = 15, Reciprocal = 16, Softplus = 17, Square = 18;

    public const int Add = 0, Sub = 1, Mul = 2, Div = 3, Max = 4, Min = 5, Pow = 6;

    /// <summary>Functions that may stand in an epilogue; others leave x as it is.</summary>
    public static float Activate(int function, float x)
    {
        if (function == None) return x;
        if (function == Silu) return FloatMath.Silu(x);
        if (function == Relu) return x > 0 || FloatMath.IsNaN(x) ? x : 0f;
        if (function == Gelu) return FloatMath.Gelu(x);
        if (function == GeluTanh) return FloatMath.GeluTanh(x);
        if (function == QuickGelu) return FloatMath.QuickGelu(x);
        if (function == Sigmoid) return FloatMath.Sigmoid(x);
        if (function == Tanh) return FloatMath.Tanh(x);
        return x;
    }

    /// <summary>Any function of one number.</summary>
    public static float Unary(int function, float x)
    {
        if (function == Exp) return FloatMath.Exp(x);
        if (function == Log) return FloatMath.Log(x);
        if (function == Sin) return FloatMath.Sin(x, 0);
        if (function == Cos) return FloatMath.Sin(x, 1);
        if (function == Sqrt) return FloatMath.Sqrt(x);
        if (function == Neg) return -x;
        if (function == Abs) return x < 0 ? -x : x;
        if (function == Erf) return FloatMath.Erf(x);
        if (function == Reciprocal) return 1f / x;
        if (function == Softplus) return FloatMath.Softplus(x);
        if (function == Square) return x * x;
        return Activate(function, x);
    }

    /// <summary>Max and Min give NaN where either operand is NaN.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Binary(int function, float a, float b)
    {
        if (function == Add) return a + b;
        if (function == Sub) return a - b;
        if (function == Mul) return a * b;
        if (function == Div) return a / b;
        if (function == Max) return a > b || FloatMath.IsNaN(a) ? a : b;
        if (function == Min) return a < b || FloatMath.IsNaN(a) ? a : b;
        return FloatMath.Pow(a, b);
    }
}
