namespace DiffusionCore.Kernels.Host;

/// <summary>What is done to a product before it is stored, in this order: + bias, + channel vector, activation, + residual, * scale.</summary>
public unsafe struct Epilogue
{
    public Epilogue() => Scale = 1;

    /// <summary>[outputs], or null.</summary>
    public float* Bias;

    /// <summary>One vector [outputs] per image, or null.</summary>
    public float* ChannelAdd;

    /// <summary>Floats between the vectors of two images.</summary>
    public long ChannelAddPitch;

    /// <summary>A tensor shaped like the result, or null; it may be the result's own memory.</summary>
    public float* Residual;

    /// <summary>Floats between its rows.</summary>
    public long ResidualPitch;

    /// <summary>Factor of everything before it; 1 for none.</summary>
    public float Scale;

    public Activation Activation;

    /// <summary>Stores the product as it is.</summary>
    public static Epilogue None => new();
}
