namespace DiffusionCore.Noise;

/// <summary>A source of standard normal numbers.</summary>
public interface INoiseSource
{
    /// <summary>One draw: what the peer's randn of this many elements would give next. Nothing is allocated.</summary>
    void Normal(Span<float> destination);
}
