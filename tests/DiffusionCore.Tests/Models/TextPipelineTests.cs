using DiffusionCore.Pipelines;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;
using DiffusionCore.Tests.Weights;
using DiffusionCore.Tests.Weights.SingleFile;
using DiffusionCore.Text;

namespace DiffusionCore.Tests.Models;

/// <summary>Text models from folder to pixels, on small made-up weights.</summary>
public sealed class TextPipelineTests : IDisposable
{
    private static readonly GenerateRequest Lighthouse = new()
    {
        Prompt = "a lighthouse in fog", Guidance = 5, Seed = 11, Sampler = "ddim", Width = 64, Height = 48, Options = new SamplerOptions { Steps = 3 },
    };

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("sd-tiny")]
    [InlineData("sd2-tiny")]
    [InlineData("sdxl-tiny")]
    public void An_image_depends_neither_on_threads_nor_on_its_companions(string preset)
    {
        string model = folder.Synthetic(preset);
        var together = Make(model, Lighthouse with { Count = 3, Batch = 2 }, threads: 2);
        var alone = Make(model, Lighthouse with { Seed = 13 }, threads: 1);
        Assert.Equal(together[2], Assert.Single(alone));
        Assert.NotEqual(together[0], together[1]);
        Assert.NotEqual(together[0], Make(model, Lighthouse with { Prompt = "a boat" }, 2)[0]);
        Assert.NotEqual(together[0], Make(model, Lighthouse with { Negative = "a boat" }, 2)[0]);
    }

    [Theory]
    [InlineData("sd-tiny")]
    [InlineData("sdxl-tiny")]
    public void A_single_file_gives_the_bytes_of_its_folder(string preset)
    {
        string model = folder.Synthetic(preset), file = folder["single.safetensors"];
        SingleFileTests.WriteSingle(model, file, preset);
        var options = new ModelOptions { Tokenizer = Path.Combine(model, "tokenizer") };
        Assert.Equal(Make(model, Lighthouse, 2, options)[0], Make(file, Lighthouse, 2, options)[0]);
    }

    [Fact]
    public void A_single_file_without_a_tokenizer_says_what_to_give()
    {
        string file = folder["single.safetensors"];
        SingleFileTests.WriteSingle(folder.Synthetic("sd-tiny"), file, "sd-tiny");
        Assert.Contains("give --tokenizer", Assert.Throws<ModelFileException>(() => ModelFolder.Load(file)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Tiles_give_the_image_within_a_step()
    {
        string model = folder.Synthetic("sd-tiny");
        var request = Lighthouse with { Width = 320, Height = 192, Options = new SamplerOptions { Steps = 1 } };
        byte[] whole = Make(model, request, 2)[0], tiled = Make(model, request with { Tiled = true }, 2)[0];
        for (int i = 0; i < whole.Length; i++) Assert.True(Math.Abs(whole[i] - tiled[i]) <= 1, $"{i}: {whole[i]} and {tiled[i]}");
        Assert.NotEqual(whole, tiled);
    }

    [Fact]
    public void Tiles_of_an_earlier_request_do_not_stand_in_for_a_whole_decode()
    {
        string path = folder.Synthetic("sd-tiny");
        var request = Lighthouse with { Width = 320, Height = 192, Options = new SamplerOptions { Steps = 1 } };
        using var model = ModelFolder.Load(path);
        using var device = new CpuDevice(2);
        using var pipeline = new GeneratePipeline(model, device);
        var images = new List<byte[]>();
        foreach (bool tiled in (bool[])[true, false]) pipeline.Generate(request with { Tiled = tiled }, i => images.Add(i.Pixels));
        Assert.Equal(Make(path, request, 2)[0], images[1]);
        Assert.NotEqual(images[0], images[1]);
    }

    [Fact]
    public void An_image_to_start_from_is_taken_back_by_its_strength()
    {
        string model = folder.Synthetic("sd-tiny");
        var init = Gradient(64, 48);
        var request = Lighthouse with { Init = init, Width = null, Height = null, Options = new SamplerOptions { Steps = 4 } };
        Assert.Equal(4, Evaluations(model, request with { Strength = 1 }));
        Assert.Equal(1, Evaluations(model, request with { Strength = 0.25 }));
        Assert.NotEqual(Make(model, request with { Strength = 0.5 }, 2)[0], Make(model, request with { Strength = 0.5, Init = Gradient(64, 48, 0.5f) }, 2)[0]);
        Assert.Contains("leaves none", Assert.Throws<UsageException>(() => Make(model, request with { Strength = 0.1 }, 2)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Outside_of_the_mask_the_image_is_that_of_the_first_stage()
    {
        string model = folder.Synthetic("sd-tiny");
        var mask = new float[64 * 48];
        for (int i = 0; i < mask.Length; i++) mask[i] = i % 64 < 16 ? 1 : 0;
        var request = Lighthouse with { Init = Gradient(64, 48), Width = null, Height = null, Strength = 1 };
        // With a mask of nothing every latent is put back: what is left is encoding and decoding, whatever the text.
        var kept = request with { Mask = new SourceImage(64, 48, 1, new float[64 * 48]) };
        byte[] untouched = Make(model, kept, 2)[0];
        Assert.Equal(untouched, Make(model, kept with { Prompt = "a boat" }, 2)[0]);
        var painted = request with { Mask = new SourceImage(64, 48, 1, mask) };
        Assert.NotEqual(Make(model, painted, 2)[0], Make(model, painted with { Prompt = "a boat" }, 2)[0]);
    }

    [Theory]
    [InlineData("init image: expected 64x48", "size")]
    [InlineData("mask: expected 1 channel", "mask channels")]
    [InlineData("mask: there is no image", "mask alone")]
    [InlineData("strength: expected more than 0", "strength")]
    [InlineData("control image: ", "hint")]
    [InlineData("class: ", "class")]
    [InlineData("size: expected multiples of", "odd size")]
    public void What_does_not_fit_is_refused(string says, string what)
    {
        string model = folder.Synthetic("sd-tiny");
        var request = what switch
        {
            "size" => Lighthouse with { Init = Gradient(32, 48) },
            "mask channels" => Lighthouse with { Init = Gradient(64, 48), Mask = Gradient(64, 48) },
            "mask alone" => Lighthouse with { Mask = new SourceImage(64, 48, 1, new float[64 * 48]) },
            "strength" => Lighthouse with { Init = Gradient(64, 48), Strength = 0 },
            "hint" => Lighthouse with { Hints = [Gradient(64, 48)] },
            "class" => Lighthouse with { Classes = [1] },
            _ => Lighthouse with { Width = 61 },
        };
        Assert.Contains(says, Assert.Throws<UsageException>(() => Make(model, request, 2)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_prompt_that_is_cut_is_said_and_weights_change_the_image()
    {
        string model = folder.Synthetic("sd-tiny");
        var notes = new List<string>();
        string longPrompt = string.Join(' ', Enumerable.Range(0, 60).Select(i => $"word{i}"));
        byte[] cut = Make(model, Lighthouse with { Prompt = longPrompt }, 2, notes: notes)[0];
        Assert.Contains(notes, n => n.Contains("cut off", StringComparison.Ordinal) && n.Contains("word 5 9\"", StringComparison.Ordinal));
        notes.Clear();
        byte[] whole = Make(model, Lighthouse with { Prompt = longPrompt, PromptSyntax = PromptSyntax.Weighted }, 2, notes: notes)[0];
        Assert.Empty(notes);
        Assert.NotEqual(cut, whole);
        Assert.NotEqual(
            Make(model, Lighthouse with { Prompt = "a (lighthouse:1.5)", PromptSyntax = PromptSyntax.Weighted }, 2)[0],
            Make(model, Lighthouse with { Prompt = "a lighthouse", PromptSyntax = PromptSyntax.Weighted }, 2)[0]);
    }

    [Fact]
    public void A_tokenizer_for_more_tokens_than_the_encoder_embeds_is_refused()
    {
        string model = folder.Synthetic("sd-tiny"), vocabulary = Path.Combine(model, "tokenizer", "vocab.json");
        string text = File.ReadAllText(vocabulary).TrimEnd();
        File.WriteAllText(vocabulary, text[..^1] + ", " + string.Join(", ", Enumerable.Range(0, 100_000).Select(i => $"\"extra{i}\": {1_000_000 + i}")) + "}");
        var e = Assert.Throws<ModelFileException>(() => ModelFolder.Load(model).Dispose());
        Assert.Contains("do not belong together", e.Message, StringComparison.Ordinal);
    }

    private static SourceImage Gradient(int width, int height, float scale = 1) =>
        new(width, height, 3, [.. Enumerable.Range(0, width * height * 3).Select(i => scale * (i / 3 % width) / width)]);

    private static byte[][] Make(string path, GenerateRequest request, int threads, ModelOptions? options = null, List<string>? notes = null)
    {
        using var model = ModelFolder.Load(path, options);
        using var device = new CpuDevice(threads);
        using var pipeline = new GeneratePipeline(model, device) { Note = n => notes?.Add(n) };
        return pipeline.Make(request);
    }

    private static int Evaluations(string path, GenerateRequest request)
    {
        using var model = ModelFolder.Load(path);
        using var device = new CpuDevice(2);
        using var pipeline = new GeneratePipeline(model, device);
        return pipeline.Plan(request).Evaluations.Count;
    }
}
