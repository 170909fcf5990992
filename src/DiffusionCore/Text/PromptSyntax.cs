namespace DiffusionCore.Text;

/// <summary>How a prompt is read.</summary>
public enum PromptSyntax
{
    /// <summary>As it stands; what does not fit into the encoder's positions is cut off.</summary>
    Plain,

    /// <summary>(word:1.3), (word), [word], \( and BREAK weigh and divide it; long prompts take several chunks.</summary>
    Weighted,
}
