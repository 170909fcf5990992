namespace DiffusionCore.Kernels.Host;

public enum Activation
{
    None,
    Silu,
    Relu,
    Gelu,
    GeluTanh,
    QuickGelu,
    Sigmoid,
    Tanh,
}
