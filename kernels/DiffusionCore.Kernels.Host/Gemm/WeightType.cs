namespace DiffusionCore.Kernels.Host;

/// <summary>Element types that packed weights are stored in.</summary>
public enum WeightType
{
    F32,
    F16,
    BF16,
}
