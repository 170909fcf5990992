using DiffusionCore.Json;
using DiffusionCore.Runtime;

namespace DiffusionCore.Pipelines;

/// <summary>An object of a layout: what, and where as parts of the image's width and height, from its top left corner.</summary>
/// <param name="Label">Name or number.</param>
public sealed record LayoutObject(string Label, double X, double Y, double Width, double Height);

/// <summary>A layout file: {"objects": [{"label": "dog", "box": [x, y, width, height]}, ...]}; a model that reads labels alone needs no boxes.</summary>
public static class LayoutFile
{
    /// <exception cref="ModelFileException">No such file, or it is not what it should be.</exception>
    public static IReadOnlyList<LayoutObject> Read(string path)
    {
        var f = ConfigFile.Load(path);
        var objects = f.GetOptionalObjects("objects") ?? throw new ModelFileException(path, "objects", "expected an array of objects, found nothing");
        var list = new List<LayoutObject>();
        foreach (var o in objects)
        {
            string field = $"objects[{list.Count}]";
            string label = o.Root.TryGetProperty("label", out var e) && e.ValueKind == System.Text.Json.JsonValueKind.Number
                ? o.GetInt("label", null, 0).ToString(System.Globalization.CultureInfo.InvariantCulture)
                : o.GetString("label", null);
            double[] box = o.GetOptionalDoubles("box") ?? [0, 0, 1, 1];
            if (box.Length != 4) throw new ModelFileException(path, field + ".box", $"expected [x, y, width, height], found {box.Length} numbers");
            const double Rounding = 1e-6;
            if (box[0] < 0 || box[1] < 0 || box[2] <= 0 || box[3] <= 0 || box[0] + box[2] > 1 + Rounding || box[1] + box[3] > 1 + Rounding)
                throw new ModelFileException(path, field + ".box", FormattableString.Invariant($"expected a box inside the image, in parts of its width and height from 0 to 1, found [{box[0]}, {box[1]}, {box[2]}, {box[3]}]"));
            list.Add(new LayoutObject(label, box[0], box[1], box[2], box[3]));
        }

        return list;
    }
}

/// <summary>
/// Layouts as tokens (Esser et al. 2021, taming transformers): each object its label, then where it is; the place of an object that is not there is
/// filled with the last token; then, where the model was trained on crops, the whole image as the crop.
/// <code>
/// point (x, y) in [0, 1] --> round(y*(s-1))*s + round(x*(s-1)),  s = floor(sqrt(tokens))
/// </code>
/// </summary>
/// <param name="Tokens">How many there are; the last stands for none.</param>
/// <param name="Objects">Most objects.</param>
internal sealed record LayoutTokens(ConditionKind Kind, int Tokens, int Objects, bool Crop, ClassNames Names)
{
    private int Each => TokensOf(Kind);

    /// <summary>Tokens of any layout.</summary>
    public int Length => Objects * Each + (Crop ? 2 : 0);

    /// <summary>From the data's own fields in the configuration, where it has them; else all that the encoder has.</summary>
    /// <exception cref="ModelFileException">They do not fit the encoder.</exception>
    public static LayoutTokens Read(LatentConfig config, string folder, ConditionKind kind, int vocabulary, int positions)
    {
        var data = config.File.GetOptionalObject("layout") ?? Data(config.File);
        int each = TokensOf(kind);
        int tokens = data?.GetInt("no_tokens", vocabulary, 5, 1 << 24) ?? vocabulary, objects = data?.GetInt("max_objects_per_image", positions / each, 1, 1 << 20) ?? positions / each;
        bool crop = kind != ConditionKind.Labels && (data?.GetBool("encode_crop", positions % each == 2) ?? positions % each == 2);
        if (tokens > vocabulary) throw new ModelFileException(config.File.Path, "no_tokens", $"a layout has {tokens} tokens, the encoder embeds {vocabulary}; they do not belong together");
        var layout = new LayoutTokens(kind, tokens, objects, crop, ClassNames.Load(folder, tokens - 1));
        if (layout.Length > positions) throw new ModelFileException(config.File.Path, "max_objects_per_image", $"a layout of {objects} objects has {layout.Length} tokens, the encoder has {positions} positions");
        return layout;
    }

    /// <exception cref="UsageException">Too many objects, or a label that there is not.</exception>
    public int[] Encode(IReadOnlyList<LayoutObject> objects)
    {
        if (objects.Count > Objects) throw new UsageException($"layout: expected at most {Objects} objects, found {objects.Count}");
        var tokens = new List<int>(Length);
        foreach (var o in objects)
        {
            tokens.Add(Names.Find(o.Label));
            if (Kind == ConditionKind.Layout) tokens.AddRange([Point(o.X, o.Y), Point(o.X + o.Width, o.Y + o.Height)]);
            if (Kind == ConditionKind.Points) tokens.Add(Point(o.X + o.Width / 2, o.Y + o.Height / 2));
        }

        while (tokens.Count < Objects * Each) tokens.Add(Tokens - 1);
        if (Crop) tokens.AddRange([Point(0, 0), Point(1, 1)]);
        return [.. tokens];
    }

    // Of one object.
    private static int TokensOf(ConditionKind kind) => kind switch { ConditionKind.Layout => 3, ConditionKind.Points => 2, _ => 1 };

    private int Point(double x, double y)
    {
        int side = (int)Math.Sqrt(Tokens);
        return Part(y) * side + Part(x);

        int Part(double v) => (int)Math.Round(Math.Clamp(v, 0, 1) * (side - 1), MidpointRounding.ToEven);
    }

    // The authors' YAML has them with the data that a model was trained on.
    private static ConfigFile? Data(ConfigFile root)
    {
        var parameters = root.GetOptionalObject("data")?.GetOptionalObject("params");
        foreach (string split in (string[])["test", "validation", "train"])
            if (parameters?.GetOptionalObject(split)?.GetOptionalObject("params") is { } found) return found;
        return null;
    }
}
