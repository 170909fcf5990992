namespace DiffusionCore.Kernels.Host;

/// <summary>Extents of an attention.</summary>
public struct AttentionShape
{
    public int Batch, Heads, Queries, Keys;

    /// <summary>Channels of a head in q and k.</summary>
    public int HeadDim;

    /// <summary>Channels of a head in v and y.</summary>
    public int ValueDim;

    /// <summary>Factor of the scores, usually 1/sqrt(HeadDim).</summary>
    public float Scale;

    /// <summary>Query i sees keys 0..i only.</summary>
    public bool Causal;
}
