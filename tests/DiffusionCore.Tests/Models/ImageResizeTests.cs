using System.Runtime.InteropServices;
using System.Text.Json;
using DiffusionCore.Images;
using DiffusionCore.Weights;

namespace DiffusionCore.Tests.Models;

/// <summary>Resized images against torch's interpolate and Pillow, and what holds for all filters.</summary>
public class ImageResizeTests
{
    public static TheoryData<string> Cases()
    {
        var data = new TheoryData<string>();
        if (ConformanceData.Folder is null)
        {
            data.Add("none");
            return data;
        }

        foreach (var c in Index().RootElement.GetProperty("cases").EnumerateArray())
            if (Filter(c) is not null) data.Add(c.GetProperty("key").GetString()!);
        return data;
    }

    [ConformanceTheory]
    [Trait("Category", "Conformance")]
    [MemberData(nameof(Cases))]
    public void An_image_is_resized_as_the_peer_does(string key)
    {
        using var index = Index();
        var c = index.RootElement.GetProperty("cases").EnumerateArray().First(e => e.GetProperty("key").GetString() == key);
        using var file = Checkpoint.Open(ConformanceData.PathOf("image", "resize.safetensors"));
        string sourceName = c.GetProperty("src").GetString()!;
        file.TryGet(sourceName, out var source);
        file.TryGet(key, out var expected);
        int height = (int)source.Dims[0], width = (int)source.Dims[1], channels = (int)source.Dims[2];
        byte[] bytes = GoldenModel.Read(file, sourceName), want = GoldenModel.Read(file, key);
        if (key.StartsWith("pil.", StringComparison.Ordinal))
        {
            // Pillow rounds to bytes between the axes.
            var filter = Filter(c)!.Value;
            int tall = (int)expected.Dims[0], wide = (int)expected.Dims[1];
            float[] across = Array.ConvertAll(ImageResize.Run(Array.ConvertAll(bytes, b => (float)b), height, width, channels, height, wide, filter), Byte);
            float[] got = Array.ConvertAll(ImageResize.Run(across, height, wide, channels, tall, wide, filter), Byte);
            for (int i = 0; i < want.Length; i++) Assert.True(Math.Abs(got[i] - want[i]) <= 1, $"{key}[{i}]: {got[i]} and {want[i]}");
            return;

            static float Byte(float v) => (float)Math.Round(Math.Clamp(v, 0, 255));
        }

        var numbers = MemoryMarshal.Cast<byte, float>(want);
        int newHeight = (int)expected.Dims[2], newWidth = (int)expected.Dims[3];
        float[] result = ImageResize.Run(Array.ConvertAll(bytes, b => b / 255f * 2 - 1), height, width, channels, newHeight, newWidth, Filter(c)!.Value);
        for (int y = 0; y < newHeight; y++)
            for (int x = 0; x < newWidth; x++)
                for (int k = 0; k < channels; k++)
                {
                    double a = numbers[(k * newHeight + y) * newWidth + x], b = result[(y * newWidth + x) * channels + k];
                    Assert.True(Math.Abs(a - b) <= 1e-4, $"{key} row {y} column {x} channel {k}: {a} and {b}");
                }
    }

    [Fact]
    public void A_constant_stays_and_the_same_size_is_the_same_image()
    {
        foreach (var filter in Enum.GetValues<ResizeFilter>())
        {
            float[] constant = [.. Enumerable.Repeat(0.37f, 5 * 7 * 2)];
            foreach (float v in ImageResize.Run(constant, 5, 7, 2, 11, 9, filter)) Assert.Equal(0.37f, v, 1e-6f);
            float[] image = [.. Enumerable.Range(0, 5 * 7 * 2).Select(i => (float)Math.Sin(i))];
            float[] same = ImageResize.Run(image, 5, 7, 2, 5, 7, filter);
            for (int i = 0; i < image.Length; i++) Assert.Equal(image[i], same[i], 1e-6f);
        }
    }

    /// <summary>A wide target of a square image shows its middle rows at the width's scale.</summary>
    [Fact]
    public void Covering_another_shape_cuts_both_ends_alike()
    {
        float[] image = [.. Enumerable.Range(0, 16 * 16).Select(i => (float)(i / 16))];
        foreach (var filter in new[] { ResizeFilter.Bilinear, ResizeFilter.Lanczos, ResizeFilter.NearestExact })
        {
            float[] whole = ImageResize.Run(image, 16, 16, 1, 32, 32, filter), cut = ImageResize.Cover(image, 16, 16, 1, 16, 32, filter);
            Assert.Equal(whole[(8 * 32)..(24 * 32)], cut);
        }
    }

    private static JsonDocument Index() => JsonDocument.Parse(File.ReadAllBytes(ConformanceData.PathOf("image", "index.json")));

    private static ResizeFilter? Filter(JsonElement c) => c.TryGetProperty("filter", out var pillow)
        ? pillow.GetString() switch
        {
            "nearest" => ResizeFilter.NearestExact,
            "bilinear" => ResizeFilter.BilinearAntialias,
            "bicubic" => ResizeFilter.BicubicAntialias,
            "lanczos" => ResizeFilter.Lanczos,
            "box" => ResizeFilter.Box,
            _ => null,
        }
        : !c.TryGetProperty("mode", out var torch) ? null : torch.GetString() switch
        {
            "nearest" => ResizeFilter.Nearest,
            "nearest-exact" => ResizeFilter.NearestExact,
            "bilinear" => ResizeFilter.Bilinear,
            "bicubic" => ResizeFilter.Bicubic,
            "bilinear-aa" => ResizeFilter.BilinearAntialias,
            "bicubic-aa" => ResizeFilter.BicubicAntialias,
            _ => null,
        };
}
