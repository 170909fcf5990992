using System.Text.Json;
using DiffusionCore.Runtime;

namespace DiffusionCore.Tests.Runtime;

/// <summary>Operators on maps: resizing, pooling, transposed convolution, instance normalisation.</summary>
public partial class OnnxNodeTests
{
    private static string[] Spatial => ["ConvTranspose", "InstanceNormalization", "MaxPool", "GlobalMaxPool"];

    private static string? ExcludedSpatial(JsonElement c, string op, int rank)
    {
        if (op is "ConvTranspose" or "MaxPool" or "GlobalMaxPool" && rank > 4) return "rank";
        if (op != "Resize") return null;
        return Text(c.GetProperty("attributes"), "coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize" ? "crop" : null;
    }

    private static string Text(JsonElement attributes, string name, string fallback) => attributes.TryGetProperty(name, out var e) ? e.GetString()! : fallback;

    private static Value Resized(JsonElement c, Graph g, Value x, Numbers?[] t, Numbers expected)
    {
        var a = c.GetProperty("attributes");
        int height = (int)expected.Shape[2], width = (int)expected.Shape[3];
        string coordinates = Text(a, "coordinate_transformation_mode", "half_pixel"), rounding = Text(a, "nearest_mode", "round_prefer_floor"), mode = Text(a, "mode", "nearest");
        bool whole = height % x.Shape[2] == 0 && width % x.Shape[3] == 0;
        var last = g.ToChannelsLast(x);

        // For whole factors these conventions are the plain floor(i / factor).
        if (mode == "nearest" && whole && (c.GetProperty("op").GetString() == "Upsample" || (coordinates, rounding) is ("half_pixel", "round_prefer_floor") or ("asymmetric", "floor")))
            return g.ToChannelsFirst(g.UpsampleNearest(last, height, width));

        int[] axes = a.TryGetProperty("axes", out var given) ? [.. given.EnumerateArray().Select(v => v.GetInt32())] : [0, 1, 2, 3];
        double[] scale = [0, 0, 0, 0];
        if (t.Length > 2 && t[2] is { Values.Length: > 0 } scales)
        {
            for (int i = 0; i < axes.Length; i++) scale[axes[i]] = scales.Values[i];
        }
        else if (Text(a, "keep_aspect_ratio_policy", "stretch") is var policy && policy != "stretch")
        {
            var ratios = axes.Select((axis, i) => t[3]!.Values[i] / x.Shape[axis]);
            scale[2] = scale[3] = policy == "not_larger" ? ratios.Min() : ratios.Max();
        }

        return g.ToChannelsFirst(g.Add(
            new ResizeOp(
                height, width, Enum.Parse<ResizeMode>(mode, ignoreCase: true),
                coordinates switch
                {
                    "half_pixel" => ResizeCoordinates.HalfPixel,
                    "half_pixel_symmetric" => ResizeCoordinates.HalfPixelSymmetric,
                    "pytorch_half_pixel" => ResizeCoordinates.HalfPixelOrZero,
                    "align_corners" => ResizeCoordinates.AlignCorners,
                    _ => ResizeCoordinates.Asymmetric,
                },
                scale[2], scale[3],
                rounding switch
                {
                    "round_prefer_floor" => ResizeRounding.PreferFloor,
                    "round_prefer_ceil" => ResizeRounding.PreferCeiling,
                    "floor" => ResizeRounding.Floor,
                    _ => ResizeRounding.Ceiling,
                },
                a.TryGetProperty("cubic_coeff_a", out var coefficient) ? coefficient.GetDouble() : -0.75,
                a.TryGetProperty("exclude_outside", out var exclude) && exclude.GetInt32() == 1,
                a.TryGetProperty("antialias", out var antialias) && antialias.GetInt32() == 1),
            last));
    }

    /// <param name="last">[N, H, W, C]; a line is a map of height 1.</param>
    private static Value Transposed(JsonElement c, Graph g, Value last, bool line, Numbers?[] t)
    {
        var a = c.GetProperty("attributes");
        int axes = line ? 1 : 2;
        int[] Ints(string name, int fallback) => a.TryGetProperty(name, out var e) ? [.. e.EnumerateArray().Select(v => v.GetInt32())] : [.. Enumerable.Repeat(fallback, axes)];
        var shape = t[1]!.Shape;
        int[] kernel = [.. shape.ToArray()[2..].Select(d => (int)d)], stride = Ints("strides", 1), dilation = Ints("dilations", 1), extra = Ints("output_padding", 0);
        int[] before = new int[axes], after = new int[axes];
        int[] pads = a.TryGetProperty("pads", out var p) ? [.. p.EnumerateArray().Select(v => v.GetInt32())] : new int[2 * axes];
        string auto = Text(a, "auto_pad", "NOTSET");
        for (int i = 0; i < axes; i++)
        {
            (before[i], after[i]) = (pads[i], pads[axes + i]);
            int input = (int)last.Shape[line ? 2 : 1 + i];
            int wanted = auto != "NOTSET" ? input * stride[i] : a.TryGetProperty("output_shape", out var o) ? o[i].GetInt32() : 0;
            if (wanted == 0) continue;
            int total = stride[i] * (input - 1) + extra[i] + (kernel[i] - 1) * dilation[i] + 1 - wanted;
            if (total < 0) (extra[i], total) = (extra[i] - total, 0);
            before[i] = auto == "SAME_UPPER" ? total / 2 : total - total / 2;
            after[i] = total - before[i];
        }

        int At(int[] v, int axis, int one) => line ? axis == 0 ? one : v[0] : v[axis];
        var w = g.Weight(new ArrayWeight("w1", line ? new Shape(shape[0], shape[1], 1, shape[2]) : shape, t[1]!.Values));
        Value? bias = t.Length > 2 ? g.Weight(new ArrayWeight("w2", t[2]!.Shape, t[2]!.Values)) : null;
        return g.ConvTranspose2d(last, w, bias, new ConvTranspose2dOp(
            true, At(stride, 0, 1), At(stride, 1, 1), At(before, 0, 0), At(before, 1, 0), At(after, 0, 0), At(after, 1, 0), At(extra, 0, 0), At(extra, 1, 0), At(dilation, 0, 1), At(dilation, 1, 1),
            a.TryGetProperty("group", out var group) ? group.GetInt32() : 1));
    }
}
