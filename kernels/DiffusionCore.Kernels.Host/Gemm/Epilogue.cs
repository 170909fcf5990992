namespace DiffusionCore.Kernels.Host;

/// <summary>What is done to a product before it is stored, in this order: + bias, + channel vector, activation, + residual, * scale.</summary>
public unsafe struct Epilogue
{
    /// <summary>[outputs], or null.</summary>
    public float* Bias;

    /// <summary>One vector per image, or null.</summary>
    public float* ChannelAdd;

    /// <summary>Floats between the vectors of two images.</summary>
    public long ChannelAddPitch;

    /// <summary>A tensor like the result, or null.</summary>
    public float* Residual;

    /// <summary>Floats between its rows.</summary>
    public long ResidualPitch;

    /// <summary>1 for none.</summary>
    public float Scale;

    public Activation Activation;

    public static Epilogue None => new() { Scale = 1 };

    /// <summary>Finishes one row of one panel: columns [first, first + n) of the result.</summary>
    internal static void Store<V>(in Epilogue e, float* acc, float* y, long row, long image, int first, int n)
        where V : unmanaged, ISimd16<V>
    {
        float* buffer = stackalloc float[16];
        float* bias = e.Bias == null ? null : e.Bias + first;
        float* channel = e.ChannelAdd == null ? null : e.ChannelAdd + image * e.ChannelAddPitch + first;
        float* residual = e.Residual == null ? null : e.Residual + row * e.ResidualPitch + first;
        for (int j = 0; j < n; j += 16)
        {
            int lanes = Math.Min(16, n - j);
            V v = V.Load(acc + j);
            if (bias != null) v += Part<V>(bias + j, lanes, buffer);
            if (channel != null) v += Part<V>(channel + j, lanes, buffer);
            if (e.Activation != Activation.None) v = Activate(e.Activation, v);
            if (residual != null) v += Part<V>(residual + j, lanes, buffer);
            if (e.Scale != 1) v *= V.Create(e.Scale);
            if (lanes == 16)
            {
                V.Store(v, y + j);
            }
            else
            {
                V.Store(v, buffer);
                for (int k = 0; k < lanes; k++) y[j + k] = buffer[k];
            }
        }
    }

    private static V Part<V>(float* p, int lanes, float* buffer)
        where V : unmanaged, ISimd16<V>
    {
        if (lanes == 16) return V.Load(p);
        for (int k = 0; k < 16; k++) buffer[k] = k < lanes ? p[k] : 0;
        return V.Load(buffer);
    }

    private static V Activate<V>(Activation activation, V v)
        where V : unmanaged, ISimd16<V> => VectorMath.Apply(activation, v);
}
