namespace DiffusionCore.Kernels.Host;

/// <summary>Functions of one number.</summary>
public enum Unary
{
    Silu,
    Relu,
    Gelu,
    GeluTanh,
    QuickGelu,
    Sigmoid,
    Tanh,
    Exp,
    Log,
    Sin,
    Cos,
    Sqrt,
    Neg,
    Abs,
    Erf,
    Reciprocal,
    Softplus,
    Square,
}

/// <summary>Functions of two numbers.</summary>
public enum Binary
{
    Add,
    Sub,
    Mul,
    Div,
    Max,
    Min,
    Pow,
}
