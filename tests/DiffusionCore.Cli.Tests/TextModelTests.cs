using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text;
using DiffusionCore.Imaging;
using DiffusionCore.Runtime;
using DiffusionCore.Synthesis;
using DiffusionCore.Weights;

namespace DiffusionCore.Cli.Tests;

/// <summary>Text models through the program: LoRA files, two passes, previews, prompts from files, and everything about them that can be bad.</summary>
public sealed class TextModelTests : CliTestBase
{
    private const string UNetLayer = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q", TextLayer = "text_model.encoder.layers.0.self_attn.q_proj";

    [Fact]
    public void A_LoRA_of_strength_zero_changes_nothing_and_of_strength_one_is_the_merged_model()
    {
        string model = Model(), merged = Path.Combine(folder, "merged");
        Lora("a.safetensors", 2, alpha: 1.5f);
        Lora("b.safetensors", 1, alpha: null);
        byte[] plain = Make("plain", model);
        Assert.Equal(plain, Make("zero", model, "--lora", "a.safetensors:0"));
        byte[] one = Make("one", model, "--lora", "a.safetensors"), both = Make("both", model, "--lora", "a.safetensors", "--lora", "b.safetensors:0.5");
        Assert.NotEqual(plain, one);
        Assert.NotEqual(one, both);
        Assert.Contains("Lora: a.safetensors|b.safetensors:0.5,", Parameters("both.png"), StringComparison.Ordinal);
        Assert.DoesNotContain("Lora", Parameters("plain.png"), StringComparison.Ordinal);

        Copy(model, merged);
        Merge(merged, ("a.safetensors", 1.0));
        AssertClose(Make("one-merged", merged), one);
        Directory.Delete(merged, recursive: true);
        Copy(model, merged);
        Merge(merged, ("a.safetensors", 1.0), ("b.safetensors", 0.5));
        AssertClose(Make("both-merged", merged), both);
    }

    [Fact]
    public void Two_passes_and_previews_are_recorded_and_previews_change_no_byte()
    {
        string model = Model();
        string[] hires = ["--hires", "x1.5", "--hires-steps", "2", "--hires-strength", "0.5", "--hires-upscaler", "image-lanczos", "--clip-skip", "2"];
        byte[] plain = Make("plain", model, hires);
        string text = Parameters("plain.png");
        Assert.Contains("Size: 64x64, Model: model, Denoising strength: 0.5, Hires upscale: 1.5, Hires steps: 2, Hires upscaler: image-lanczos, Clip skip: 2", text);
        Assert.Equal(96, Decode("plain.png").Width);

        var result = Run(["generate", "--model", model, "--prompt", "a lighthouse", "--steps", "2", "--seed", "4", "--size", "64x64", "--device", "cpu", "-o", "shown.png", .. hires, "--preview", "now.png", "--preview-every", "1"]);
        Assert.Equal(0, result.Exit);
        Assert.Contains("previews every 1 step in now.png, made by a linear map of the latent's channels", result.Error);
        Assert.Contains("second pass: 2 steps at 96x96 by image-lanczos", result.Error);
        Assert.Equal(plain, Decode("shown.png").Pixels);
        Assert.Equal((12, 12, 3), (Decode("now.png").Width, Decode("now.png").Height, Decode("now.png").Channels));
        Assert.Equal(["now.png", "plain.png", "shown.png"], Directory.GetFiles(folder).Select(Path.GetFileName).Order(StringComparer.Ordinal));
    }

    /// <summary>diffusers counts the layers that are left out, stable-diffusion-webui the layer that is read.</summary>
    [Fact]
    public void The_layer_of_the_text_encoder_is_counted_as_the_named_program_does()
    {
        string model = Model();
        byte[] second = Make("a", model, "--clip-skip", "2");
        Assert.NotEqual(second, Make("b", model));
        Assert.Equal(second, Make("c", model, "--clip-skip", "1", "--compat", "diffusers"));
        Assert.Equal(Make("d", model, "--clip-skip", "1"), Make("e", model, "--clip-skip", "0", "--compat", "diffusers"));
    }

    [Fact]
    public void A_prompt_from_a_file_is_the_prompt()
    {
        string model = Model();
        File.WriteAllText(Path.Combine(folder, "prompt.txt"), "a lighthouse\n");
        byte[] given = Make("given", model);
        Assert.Equal(0, Run("generate", "--model", model, "--prompt-file", "prompt.txt", "--steps", "2", "--seed", "4", "--size", "64x64", "-o", "file.png").Exit);
        Assert.Equal(given, Decode("file.png").Pixels);
        Assert.Equal(Parameters("given.png"), Parameters("file.png"));
    }

    [Fact]
    public void A_class_is_found_by_the_names_of_the_model_index()
    {
        string model = Model("dit-tiny"), index = Path.Combine(model, "model_index.json");
        string Labels(string json) => File.ReadAllText(index).TrimEnd().TrimEnd('}') + $", \"id2label\": {json}}}";
        string plain = File.ReadAllText(index);
        File.WriteAllText(index, Labels("""{"3": "tench, Tinca tinca", "4": "crane", "7": "crane"}"""));
        byte[] named = Image("named", "--class", "tinca tinca"), numbered = Image("numbered", "--class", "3");
        Assert.Equal(numbered, named);
        Assert.Contains("Class: tench, Tinca tinca", Parameters("named.png"));
        Refused(2, "class 'crane' is the name of 4 and 7; give the number", "generate", "--model", model, "--class", "crane");
        Refused(2, "did you mean 'tench'?", "generate", "--model", model, "--class", "tenhc");
        File.WriteAllText(index, plain);
        File.WriteAllText(index, Labels("""{"10": "x"}"""));
        Refused(3, "id2label.10: expected a class number from 0 to 9", "generate", "--model", model, "--class", "3");
        File.WriteAllText(index, plain);
        File.WriteAllText(index, Labels("""{"1": 5}"""));
        Refused(3, "id2label.1: expected a name", "generate", "--model", model, "--class", "3");

        byte[] Image(string name, params string[] more)
        {
            var result = Run(["generate", "--model", model, "--steps", "2", "--seed", "4", "-o", name + ".png", .. more]);
            Assert.True(result.Exit == 0, result.Error);
            return Decode(name + ".png").Pixels;
        }
    }

    [Theory]
    [InlineData("--hires-steps: has no effect without --hires", "--hires-steps", "3")]
    [InlineData("--preview-every: has no effect without --preview", "--preview-every", "3")]
    [InlineData("--preview-vae: has no effect without --preview", "--preview-vae", "x")]
    [InlineData("--hires: expected WIDTHxHEIGHT", "--hires", "twice")]
    [InlineData("hires upscaler: 'latnt' is unknown; did you mean 'latent'?", "--hires", "x2", "--hires-upscaler", "latnt")]
    [InlineData("hires: expected a size of at least the first pass's 64x64, found 32x32", "--hires", "32x32")]
    [InlineData("clip skip: expected 1 (the last layer) to 2", "--clip-skip", "3")]
    [InlineData("--preview: x.png is the name of a finished image", "--preview", "x.png")]
    [InlineData("expected a name that ends in .png", "--preview", "x.jpg")]
    [InlineData("--prompt and --prompt-file: give one of them", "--prompt-file", "x.txt")]
    [InlineData("sampler dpm_adaptive chooses its steps as it goes", "--init", "init.png", "--mask", "mask.png", "--sampler", "dpm_adaptive")]
    [InlineData("mask: expected 64x64, the size of the image that is made, found 32x64", "--init", "init.png", "--mask", "narrow.png")]
    public void Wrong_usage_is_refused(string part, params string[] more)
    {
        Png("init.png", 64, 64, 3);
        Png("mask.png", 64, 64, 1);
        Png("narrow.png", 32, 64, 1);
        Refused(2, part, ["generate", "--model", Model(), "--prompt", "a lighthouse", "--steps", "2", "--size", "64x64", "-o", "x.png", .. more]);
    }

    [Fact]
    public void A_LoRA_for_another_model_is_refused()
    {
        string model = Model();
        WriteLora("other.safetensors", ("lora_unet_down_blocks_3_attentions_0_transformer_blocks_0_attn1_to_q", 2, 8, 8, null));
        WriteLora("wide.safetensors", ("lora_unet_" + UNetLayer.Replace('.', '_'), 2, 99, 32, null));
        foreach (string file in (string[])["other.safetensors", "wide.safetensors"]) Refused(3, "another model", "generate", "--model", model, "--prompt", "x", "--lora", file, "-o", "x.png");
        Refused(3, "no such", "generate", "--model", model, "--prompt", "x", "--lora", "absent.safetensors", "-o", "x.png");
    }

    [Fact]
    public void A_prompt_that_is_too_long_or_is_not_text_is_refused()
    {
        string model = Model();
        File.WriteAllBytes(Path.Combine(folder, "ten-megabytes.txt"), [.. Enumerable.Repeat((byte)'a', 10_000_000)]);
        File.WriteAllBytes(Path.Combine(folder, "two-megabytes.txt"), [.. Enumerable.Repeat((byte)'a', 2_000_000)]);
        File.WriteAllBytes(Path.Combine(folder, "surrogate.txt"), [(byte)'a', 0xED, 0xA0, 0xBD, (byte)'b']);
        File.WriteAllBytes(Path.Combine(folder, "latin.txt"), [(byte)'c', (byte)'a', (byte)'f', 0xE9]);
        foreach (string option in (string[])["--prompt-file", "--negative-file"])
        {
            string[] command = option == "--prompt-file" ? ["generate", "--model", model, "-o", "x.png"] : ["generate", "--model", model, "--prompt", "x", "-o", "x.png"];
            Refused(3, "ten-megabytes.txt: has 10000000 bytes; a prompt has at most 1000000 characters", [.. command, option, "ten-megabytes.txt"]);
            Refused(2, "has 2000000 characters; expected at most 1000000", [.. command, option, "two-megabytes.txt"]);
            Refused(2, "has 2000000 characters; expected at most 1000000", [.. command, option, "two-megabytes.txt", "--prompt-syntax", "weighted"]);
            Refused(3, "surrogate.txt: is not valid UTF-8 at byte 1", [.. command, option, "surrogate.txt"]);
            Refused(3, "latin.txt: is not valid UTF-8 at byte 3", [.. command, option, "latin.txt"]);
            Refused(3, "absent.txt: there is no such file", [.. command, option, "absent.txt"]);
            Refused(3, ": is a folder; expected a text file", [.. command, option, "."]);
        }

        Refused(2, "--prompt: character 3 is not valid UTF-8", "generate", "--model", model, "--prompt", "a \ud83d boat", "-o", "x.png");
        using var shell = Process.Start(new ProcessStartInfo("sh") { ArgumentList = { "-c", $"dotnet '{Program}' generate --model '{model}' --prompt \"$(printf 'a \\377 boat')\" -o x.png" }, WorkingDirectory = folder, RedirectStandardOutput = true, RedirectStandardError = true })!;
        var raw = Finish(shell);
        Assert.True(raw.Exit == 2 && raw.Error.Contains("--prompt: character 3 is not valid UTF-8", StringComparison.Ordinal), raw.Error);
        Assert.False(File.Exists(Path.Combine(folder, "x.png")));
    }

    /// <summary>Every way in which the folder of a text model can be bad.</summary>
    [Fact]
    public void A_bad_model_folder_is_refused_with_file_and_field()
    {
        string sound = Model(), bad = Path.Combine(folder, "bad");
        (string Part, Action Damage)[] all =
        [
            ("model_index.json", () => Delete("model_index.json")),
            ("unet", () => Delete("unet/config.json")),
            ("has no scheduler_config.json", () => Delete("scheduler/scheduler_config.json")),
            ("has no weights", () => Delete("vae/diffusion_pytorch_model.safetensors")),
            ("has vocab.json but no merges.txt", () => Delete("tokenizer/merges.txt")),
            ("is not valid JSON", () => Cut("unet/config.json")),
            ("is not valid JSON", () => Cut("tokenizer/vocab.json")),
            ("is given twice", () => Edit("vae/config.json", "{", "{\"in_channels\": 3, ")),
            ("unet/config.json: _class_name: 'UNet9DModel' is not supported", () => Edit("unet/config.json", "\"UNet2DConditionModel\"", "\"UNet9DModel\"")),
            ("_class_name: 'SpinPipeline' is not supported", () => Edit("model_index.json", "\"StableDiffusionPipeline\"", "\"SpinPipeline\"")),
            ("in_channels: expected a whole number", () => Field("unet/config.json", "in_channels", "\"four\"")),
            ("in_channels: expected a whole number", () => Field("unet/config.json", "in_channels", "-4")),
            ("in_channels: expected a whole number", () => Field("unet/config.json", "in_channels", "0")),
            ("in_channels: expected a whole number", () => Field("unet/config.json", "in_channels", "2147483648")),
            ("layers_per_block: expected a whole number", () => Field("vae/config.json", "layers_per_block", "0")),
            ("layers_per_block: expected a whole number", () => Field("vae/config.json", "layers_per_block", "-1")),
            ("num_hidden_layers: expected a whole number", () => Field("text_encoder/config.json", "num_hidden_layers", "2147483648")),
            ("block types", () => Field("unet/config.json", "block_out_channels", "[32, 64, 64]")),
            ("attention_head_dim", () => Field("unet/config.json", "attention_head_dim", "7")),
            ("num_attention_heads: 7 heads do not divide", () => Field("text_encoder/config.json", "num_attention_heads", "7")),
            ("norm_num_groups", () => Field("unet/config.json", "norm_num_groups", "7")),
            ("prediction_type: 'velocity' is not supported", () => Field("scheduler/scheduler_config.json", "prediction_type", "\"velocity\"")),
            ("timestep_spacing: 'odd' is not supported", () => Field("scheduler/scheduler_config.json", "timestep_spacing", "\"odd\"")),
            ("num_train_timesteps: expected a whole number", () => Field("scheduler/scheduler_config.json", "num_train_timesteps", "0")),
            ("num_train_timesteps: expected a whole number", () => Field("scheduler/scheduler_config.json", "num_train_timesteps", "-5")),
            ("num_train_timesteps: expected a whole number", () => Field("scheduler/scheduler_config.json", "num_train_timesteps", "1000000000")),
            ("is not valid JSON", () => Field("scheduler/scheduler_config.json", "beta_end", "NaN")),
            ("beta_end: expected a number", () => Field("scheduler/scheduler_config.json", "beta_end", "1.5")),
            ("model_index.json: unet: expected [library, class]", () => Field("model_index.json", "unet", "[\"diffusers\", null]")),
            ("unet", () => Field("model_index.json", "unet", "[null, null]")),
            ("outside the model", () => Link("unet")),
            ("is missing", () => Index("{\"conv_in.weight\": \"part-2.safetensors\"}")),
            ("part-2.safetensors", () => Index("{\"conv_in.weight\": \"../part-2.safetensors\"}")),
            ("two shards", Twice),
            ("expected [32, 5, 3, 3], file has [32, 4, 3, 3]", () => Field("unet/config.json", "in_channels", "5")),
            ("they do not belong together", () => Edit("tokenizer/vocab.json", "{", "{\"extra\": 999999, ")),
            ("expected a JSON object", () => File.WriteAllText(Path.Combine(bad, "tokenizer/vocab.json"), "[1]")),
        ];
        var wrong = new List<string>();
        foreach (var (part, damage) in all)
        {
            Copy(sound, bad);
            damage();
            string? problem = Problem(3, part, "generate", "--model", bad, "--prompt", "x", "--steps", "1", "--size", "64x64", "-o", "x.png");
            if (problem is not null) wrong.Add($"{part}: {problem}");
            Directory.Delete(bad, recursive: true);
        }

        Assert.True(wrong.Count == 0, string.Join("\n", wrong));

        void Delete(string file) => File.Delete(Path.Combine(bad, file));
        void Cut(string file) => File.WriteAllText(Path.Combine(bad, file), File.ReadAllText(Path.Combine(bad, file))[..40]);
        void Edit(string file, string from, string to)
        {
            string text = File.ReadAllText(Path.Combine(bad, file));
            int at = text.IndexOf(from, StringComparison.Ordinal);
            Assert.True(at >= 0, $"{file} has no {from}");
            File.WriteAllText(Path.Combine(bad, file), text[..at] + to + text[(at + from.Length)..]);
        }

        void Field(string file, string name, string value)
        {
            string path = Path.Combine(bad, file);
            var node = System.Text.Json.Nodes.JsonNode.Parse(File.ReadAllText(path))!.AsObject();
            node.Remove(name);
            File.WriteAllText(path, $"{{\"{name}\": {value}, {node.ToJsonString()[1..]}");
        }

        void Link(string component)
        {
            string outside = Path.Combine(folder, "outside");
            if (!Directory.Exists(outside)) Copy(Path.Combine(bad, component), outside);
            Directory.Delete(Path.Combine(bad, component), recursive: true);
            Directory.CreateSymbolicLink(Path.Combine(bad, component), outside);
        }

        void Index(string map)
        {
            File.Move(Path.Combine(bad, "unet/diffusion_pytorch_model.safetensors"), Path.Combine(bad, "unet/part-1.safetensors"));
            File.WriteAllText(Path.Combine(bad, "unet/diffusion_pytorch_model.safetensors.index.json"), $"{{\"weight_map\": {map}}}");
        }

        void Twice()
        {
            string unet = Path.Combine(bad, "unet");
            Index("{\"conv_in.weight\": \"part-1.safetensors\", \"conv_in.bias\": \"part-2.safetensors\"}");
            File.Copy(Path.Combine(unet, "part-1.safetensors"), Path.Combine(unet, "part-2.safetensors"));
        }
    }

    [Theory]
    [InlineData("input conditioning_scal: UNet2DModel does not take it; it asks for ", "--set", "conditioning_scal=0.5")]
    [InlineData("--set: expected NAME=VALUE", "--set", "timestep")]
    [InlineData("--set class_labels: expected a number, found 'x'", "--set", "class_labels=1.5,x")]
    [InlineData("--set: timestep is given twice", "--set", "timestep=1", "--set", "in.timestep=2")]
    public void An_input_given_as_a_number_that_nobody_takes_is_refused(string part, params string[] more)
    {
        Sample();
        Refused(2, part, ["run", "--model", Path.Combine(CopyModel(), "unet"), "--input", "in.safetensors", "-o", "out.safetensors", "--set", "timestep=10", .. more]);
    }

    [Fact]
    public void An_input_given_as_a_number_stands_for_one_in_the_file()
    {
        Sample(10);
        Sample();
        string network = Path.Combine(CopyModel(), "unet");
        Assert.Equal(0, Run("run", "--model", network, "--input", "in-10.safetensors", "-o", "a.safetensors").Exit);
        Assert.Equal(0, Run("run", "--model", network, "--input", "in.safetensors", "--set", "timestep=10", "-o", "b.safetensors").Exit);
        Assert.Equal(0, Run("run", "--model", network, "--input", "in-10.safetensors", "--set", "timestep=500", "-o", "c.safetensors").Exit);
        Assert.Equal(File.ReadAllBytes(Path.Combine(folder, "a.safetensors")), File.ReadAllBytes(Path.Combine(folder, "b.safetensors")));
        Assert.NotEqual(File.ReadAllBytes(Path.Combine(folder, "a.safetensors")), File.ReadAllBytes(Path.Combine(folder, "c.safetensors")));
    }

    private void Sample(long? time = null)
    {
        var tensors = new List<TensorData> { new("in.sample", StorageType.F32, [1, 1, 32, 32], new byte[32 * 32 * 4]), new("in.class_labels", StorageType.I64, [1], BitConverter.GetBytes(1L)) };
        if (time is { } t) tensors.Add(new TensorData("in.timestep", StorageType.I64, [], BitConverter.GetBytes(t)));
        SafetensorsWriter.Write(Path.Combine(folder, time is null ? "in.safetensors" : $"in-{time}.safetensors"), tensors);
    }

    private string Model(string preset = "sd-tiny")
    {
        string path = Path.Combine(folder, "model");
        if (!Directory.Exists(path)) SynthModel.Write(SynthPreset.Find(preset), path, 3, StorageType.F32);
        return path;
    }

    private byte[] Make(string name, string model, params string[] more)
    {
        var result = Run(["generate", "--model", model, "--prompt", "a lighthouse", "--steps", "2", "--seed", "4", "--size", "64x64", "--device", "cpu", "-o", name + ".png", .. more]);
        Assert.True(result.Exit == 0, result.Error);
        return Decode(name + ".png").Pixels;
    }

    // The test's sum and the program's differ in the last bits of F32.
    private static void AssertClose(byte[] expected, byte[] got)
    {
        Assert.Equal(expected.Length, got.Length);
        for (int i = 0; i < got.Length; i++) Assert.True(Math.Abs(expected[i] - got[i]) <= 1, $"{i}: {expected[i]} and {got[i]}");
    }

    private void Lora(string file, int rank, float? alpha) => WriteLora(
        file, ("lora_unet_" + UNetLayer.Replace('.', '_'), rank, Dims("unet", UNetLayer)[1], Dims("unet", UNetLayer)[0], alpha),
        ("lora_te_" + TextLayer.Replace('.', '_'), rank, Dims("text_encoder", TextLayer)[1], Dims("text_encoder", TextLayer)[0], alpha));

    private long[] Dims(string component, string layer)
    {
        using var file = Checkpoint.Open(Path.Combine(folder, "model", component));
        Assert.True(file.TryGet(layer + ".weight", out var entry), $"{component} has no {layer}");
        return entry.Dims;
    }

    private void WriteLora(string file, params (string Layer, int Rank, long In, long Out, float? Alpha)[] layers)
    {
        var tensors = new List<TensorData>();
        foreach (var (layer, rank, inputs, outputs, alpha) in layers)
        {
            tensors.Add(Tensor($"{layer}.lora_down.weight", [rank, inputs], Factor(layer + file, rank * inputs)));
            tensors.Add(Tensor($"{layer}.lora_up.weight", [outputs, rank], Factor(file + layer, outputs * rank)));
            if (alpha is { } a) tensors.Add(Tensor($"{layer}.alpha", [], [a]));
        }

        SafetensorsWriter.Write(Path.Combine(folder, file), tensors);
    }

    private static float[] Factor(string seed, long count)
    {
        var random = new Random(seed.Sum(c => c));
        return [.. Enumerable.Range(0, (int)count).Select(_ => (float)(4 * random.NextDouble() - 2))];
    }

    private static TensorData Tensor(string name, long[] dims, float[] values) => new(name, StorageType.F32, dims, MemoryMarshal.AsBytes(values.AsSpan()).ToArray());

    // W + strength * alpha / rank * up * down, written as the model has it.
    private void Merge(string model, params (string File, double Strength)[] loras)
    {
        foreach (var (component, layer, prefix) in ((string, string, string)[])[("unet", UNetLayer, "lora_unet_"), ("text_encoder", TextLayer, "lora_te_")])
        {
            string path = Directory.GetFiles(Path.Combine(model, component), "*.safetensors").Single();
            var tensors = new List<TensorData>();
            using (var file = Checkpoint.Open(path))
            {
                foreach (string name in file.Names)
                {
                    file.TryGet(name, out var entry);
                    float[] values = Floats(file, name);
                    foreach (var (lora, strength) in loras.Where(_ => name == layer + ".weight"))
                    {
                        using var factors = Checkpoint.Open(Path.Combine(folder, lora));
                        string stem = prefix + layer.Replace('.', '_');
                        float[] down = Floats(factors, stem + ".lora_down.weight"), up = Floats(factors, stem + ".lora_up.weight");
                        long inputs = entry.Dims[1], rank = down.Length / inputs;
                        double scale = strength * (factors.TryGet(stem + ".alpha", out _) ? Floats(factors, stem + ".alpha")[0] / (double)rank : 1);
                        for (long o = 0; o < entry.Dims[0]; o++)
                            for (long i = 0; i < inputs; i++)
                            {
                                double sum = 0;
                                for (long r = 0; r < rank; r++) sum += (double)up[o * rank + r] * down[r * inputs + i];
                                values[o * inputs + i] = (float)(values[o * inputs + i] + scale * sum);
                            }
                    }

                    tensors.Add(Tensor(name, entry.Dims, values));
                }
            }

            SafetensorsWriter.Write(path, tensors, null, overwrite: true);
        }
    }

    private static float[] Floats(Checkpoint file, string name)
    {
        Assert.True(file.TryGet(name, out var entry), name);
        Assert.Equal(StorageType.F32, entry.Type);
        var bytes = new byte[entry.Bytes];
        file.Read(name, bytes);
        return MemoryMarshal.Cast<byte, float>(bytes).ToArray();
    }

    private void Refused(int exit, string part, params string[] arguments)
    {
        string? problem = Problem(exit, part, arguments);
        Assert.True(problem is null, problem);
    }

    // Null where the program said one line of error that contains the part, with the right code, and left no file.
    private string? Problem(int exit, string part, params string[] arguments)
    {
        string[] before = Directory.GetFileSystemEntries(folder, "*", SearchOption.AllDirectories);
        var result = Run(arguments);
        string[] lines = result.Error.Split('\n', StringSplitOptions.RemoveEmptyEntries), errors = [.. lines.Where(l => l.StartsWith("dcore: error: ", StringComparison.Ordinal))];
        string[] left = [.. Directory.GetFileSystemEntries(folder, "*", SearchOption.AllDirectories).Except(before)];
        bool fine = result.Exit == exit && errors.Length == 1 && errors[0].Contains(part, StringComparison.Ordinal) && errors[0].Length < 2000 && lines.All(l => l.StartsWith("dcore: ", StringComparison.Ordinal)) && left.Length == 0;
        return fine ? null : $"exit {result.Exit}, left {string.Join(", ", left)}: {(result.Error.Length > 2000 ? result.Error[..2000] : result.Error)}";
    }

    private void Png(string name, int width, int height, int channels)
    {
        using var stream = File.Create(Path.Combine(folder, name));
        new StbCodec().EncodePng(new Image(width, height, channels, new byte[width * height * channels]), stream, []);
    }

    private Image Decode(string file) => new StbCodec().Decode(File.ReadAllBytes(Path.Combine(folder, file)), file);

    private string Parameters(string file) => Assert.Single(PngFile.ReadTexts(File.ReadAllBytes(Path.Combine(folder, file)), file), t => t.Key == "parameters").Text;

    private static void Copy(string from, string to)
    {
        foreach (string file in Directory.GetFiles(from, "*", SearchOption.AllDirectories))
        {
            string target = Path.Combine(to, Path.GetRelativePath(from, file));
            Directory.CreateDirectory(Path.GetDirectoryName(target)!);
            File.Copy(file, target);
        }
    }
}
