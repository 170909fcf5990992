using DiffusionCore.Runtime;

namespace DiffusionCore.Text;

/// <summary>Applies a chunk's weights to what the text encoder made of it.</summary>
public static class PromptWeights
{
    /// <summary>
    /// h[t, c] = w[t]*h[t, c], then all of it scaled so that its mean is what it was (stable-diffusion-webui's rule): the weights move
    /// emphasis between the tokens and leave the chunk's level alone.
    /// </summary>
    /// <param name="hidden">[tokens, width] of one chunk.</param>
    /// <param name="weights">[tokens].</param>
    /// <exception cref="UsageException">The weighted states have no mean to restore.</exception>
    public static void Apply(Span<float> hidden, ReadOnlySpan<float> weights)
    {
        if (weights.Length == 0 || hidden.Length % weights.Length != 0) throw new ArgumentException($"{hidden.Length} states do not divide into {weights.Length} tokens", nameof(weights));
        if (!weights.ContainsAnyExcept(1f)) return;
        int width = hidden.Length / weights.Length;
        double before = 0, after = 0;
        for (int t = 0; t < weights.Length; t++)
        {
            var row = hidden.Slice(t * width, width);
            for (int c = 0; c < width; c++)
            {
                before += row[c];
                row[c] *= weights[t];
                after += row[c];
            }
        }

        double scale = before / after;
        if (!double.IsFinite(scale)) throw new UsageException("the prompt's weights leave nothing of it; use weights other than 0");
        for (int i = 0; i < hidden.Length; i++) hidden[i] = (float)(hidden[i] * scale);
    }
}
