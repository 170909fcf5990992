using DiffusionCore.Kernels;
using Activation = DiffusionCore.Kernels.Host.Activation;
using Binary = DiffusionCore.Kernels.Host.Binary;
using Unary = DiffusionCore.Kernels.Host.Unary;

namespace DiffusionCore.Gpu;

/// <summary>The runtime's functions as the numbers that kernels know.</summary>
internal static class Functions
{
    public static int Of(Activation activation) => activation switch
    {
        Activation.None => Function.None,
        Activation.Silu => Function.Silu,
        Activation.Relu => Function.Relu,
        Activation.Gelu => Function.Gelu,
        Activation.GeluTanh => Function.GeluTanh,
        Activation.QuickGelu => Function.QuickGelu,
        Activation.Sigmoid => Function.Sigmoid,
        Activation.Tanh => Function.Tanh,
        _ => throw new ArgumentOutOfRangeException(nameof(activation), activation, "no kernel has it"),
    };

    /// <summary>Null where no kernel has it.</summary>
    public static int? Of(Unary function) => function switch
    {
        Unary.Silu => Function.Silu,
        Unary.Relu => Function.Relu,
        Unary.Gelu => Function.Gelu,
        Unary.GeluTanh => Function.GeluTanh,
        Unary.QuickGelu => Function.QuickGelu,
        Unary.Sigmoid => Function.Sigmoid,
        Unary.Tanh => Function.Tanh,
        Unary.Exp => Function.Exp,
        Unary.Log => Function.Log,
        Unary.Sin => Function.Sin,
        Unary.Cos => Function.Cos,
        Unary.Sqrt => Function.Sqrt,
        Unary.Neg => Function.Neg,
        Unary.Abs => Function.Abs,
        Unary.Erf => Function.Erf,
        Unary.Reciprocal => Function.Reciprocal,
        Unary.Softplus => Function.Softplus,
        Unary.Square => Function.Square,
        _ => null,
    };

    /// <summary>Null where no kernel has it.</summary>
    public static int? Of(Binary function) => function switch
    {
        Binary.Add => Function.Add,
        Binary.Sub => Function.Sub,
        Binary.Mul => Function.Mul,
        Binary.Div => Function.Div,
        Binary.Max => Function.Max,
        Binary.Min => Function.Min,
        Binary.Pow => Function.Pow,
        _ => null,
    };
}
