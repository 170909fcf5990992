using System.Globalization;
using DiffusionCore.Runtime;

namespace DiffusionCore.Weights;

/// <summary>The LoRAs of a request, open.</summary>
public sealed class LoraSet : IDisposable
{
    private LoraSet(List<LoraUse> uses) => Uses = uses;

    public IReadOnlyList<LoraUse> Uses { get; }

    /// <param name="given">Each a path, or a path, a colon and a strength: style.safetensors:0.7.</param>
    /// <exception cref="ModelFileException">A file is no LoRA.</exception>
    /// <exception cref="UsageException">A strength is not a number.</exception>
    public static LoraSet Open(IEnumerable<string> given)
    {
        var set = new LoraSet([]);
        try
        {
            foreach (string text in given)
            {
                var (path, strength) = Parse(text);
                ((List<LoraUse>)set.Uses).Add(new LoraUse(LoraFile.Open(path), strength));
            }

            return set;
        }
        catch
        {
            set.Dispose();
            throw;
        }
    }

    /// <summary>Checks that nothing in the files is left aside.</summary>
    /// <param name="components">What the model has.</param>
    /// <exception cref="ModelFileException">A file changes a component that the model does not have.</exception>
    public void ThrowIfUnclaimed(IReadOnlyCollection<string> components)
    {
        foreach (var use in Uses)
        {
            string? lost = use.File.Components.FirstOrDefault(c => !components.Any(name => LoraNames.SameComponent(name, c)));
            if (lost is not null) throw new ModelFileException(use.File.Path, lost, $"is changed by this LoRA in {use.File.Modules.Count(m => m.Component == lost)} places, but the model has only {string.Join(", ", components)}; the LoRA was made for another model");
        }
    }

    public void Dispose()
    {
        foreach (var use in Uses) use.File.Dispose();
    }

    private static (string Path, double Strength) Parse(string text)
    {
        // A colon may be part of a path: what is there under the whole name wins.
        int colon = text.LastIndexOf(':');
        if (colon <= 0 || File.Exists(text)) return (text, 1);
        string number = text[(colon + 1)..];
        if (double.TryParse(number, NumberStyles.Float, CultureInfo.InvariantCulture, out double strength) && double.IsFinite(strength)) return (text[..colon], strength);
        if (File.Exists(text[..colon])) throw new UsageException($"--lora {text}: strength '{number}': expected a number");
        return (text, 1);
    }
}
