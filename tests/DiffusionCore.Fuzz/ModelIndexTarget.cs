using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Fuzz;

/// <summary>model_index.json: what is accepted names the same components in any order of its fields, and none of them leads out of the folder.</summary>
public sealed class ModelIndexTarget : FolderTarget
{
    private static readonly string[] Seeds =
    [
        """{"_class_name":"StableDiffusionPipeline","_diffusers_version":"0.20.0","feature_extractor":[null,null],"requires_safety_checker":false,"scheduler":["diffusers","PNDMScheduler"],"unet":["diffusers","UNet2DConditionModel"],"vae":["diffusers","AutoencoderKL"]}""",
        """{"_class_name":"DiTPipeline","id2label":{"0":"tench, Tinca tinca","1":"goldfish"},"scheduler":["diffusers","DDIMScheduler"],"transformer":["diffusers","DiTTransformer2DModel"]}""",
        """{"_class_name":"DDPMPipeline","unet":["diffusers","UNet2DModel"],"force_zeros_for_empty_prompt":true,"a":[1,2],"b":[[],{}]}""",
    ];

    public override string Name => "model-index";

    protected override string FileName => ModelIndex.FileName;

    public override byte[] Make(Draw draw) => JsonMutator.Damage(draw.Of(Seeds), draw);

    public override void RoundTrip(byte[] input, object parsed)
    {
        string before = Described((ModelIndex)parsed);
        Write(FileName, Reversed(input));
        string after = Described((ModelIndex)Read());
        if (before != after) throw new RoundTripException($"{before} became {after}");
    }

    // The text of the file, as JSON and once more while it is checked, and names that are made of it.
    public override long AllocationLimit(byte[] input) => 16L * input.Length + Slack;

    protected override void Prepare()
    {
        Directory.CreateDirectory(Path.Combine(Folder, "unet"));
        Directory.CreateDirectory(Path.Combine(Folder, "scheduler"));
    }

    protected override object Read() => ModelIndex.Load(Folder);

    private string Described(ModelIndex index)
    {
        var lines = new List<string> { index.ClassName };
        foreach (var component in index.Components.OrderBy(c => c.Name, StringComparer.Ordinal))
        {
            string place;
            try
            {
                place = index.FolderOf(component.Name);
                if (Path.GetDirectoryName(place) != Folder) throw new RoundTripException($"component {component.Name} leads to {place}");
            }
            catch (DiffusionCoreException e)
            {
                if (e.Message.Length == 0 || e.Message.Any(char.IsControl)) throw new RoundTripException($"the message is not one line: {e.Message}");
                place = "refused";
            }

            lines.Add($"{component.Name}={component.Library}.{component.Class} {place}");
        }

        return string.Join("; ", lines);
    }
}
