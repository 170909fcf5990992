namespace DiffusionCore.Peers;

/// <summary>How a network is written for the peer.</summary>
public enum GraphForm
{
    /// <summary>Standard operators, as exporters write them: instance normalisation over groups, sigmoid and product, scores as matrices.</summary>
    Plain,

    /// <summary>The largest operators that the peer has a CPU kernel for: flash attention, SiLU as one, and products of two-dimensional operands, into which it folds the bias.</summary>
    Fused,
}
