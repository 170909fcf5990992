using System.Globalization;
using System.Runtime.InteropServices;
using DiffusionCore.Models;
using DiffusionCore.Runtime;
using DiffusionCore.Tests.Runtime;
using DiffusionCore.Tests.Weights;
using DiffusionCore.Weights;

namespace DiffusionCore.Tests.Models;

/// <summary>Small first stages made here, with weights by recipe: what the golden models do not cover.</summary>
public sealed class AutoencoderTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void Sixteen_channels_without_quant_convs_are_those_with_identity_convs()
    {
        string plain = Write("plain", Kl(16, false), Tensors(16, false), []);
        string identity = Write("identity", Kl(16, true), Tensors(16, true), new() { ["quant_conv.weight"] = Identity(32), ["post_quant_conv.weight"] = Identity(16), ["quant_conv.bias"] = new float[32], ["post_quant_conv.bias"] = new float[16] });
        Assert.Equal(Run(plain, Inputs(16)), Run(identity, Inputs(16)), (a, b) => a.Key == b.Key && Difference(a.Value, b.Value) <= 1e-5);
    }

    [Fact]
    public void Older_key_names_of_the_attention_give_the_same_numbers()
    {
        var old = Tensors(4, false).ToDictionary(t => t.Key, t => t.Value);
        var values = new Dictionary<string, float[]>();
        foreach (var (name, shape) in Tensors(4, false))
        {
            string renamed = name.Replace("to_q", "query").Replace("to_k", "key").Replace("to_v", "value").Replace("to_out.0", "proj_attn");
            if (renamed == name) continue;
            old.Remove(name);
            // They were stored as 1x1 convolutions for a while.
            old[renamed] = shape.Length == 2 ? [.. shape, 1, 1] : shape;
            values[renamed] = GoldenModel.Recipe(name, shape);
        }

        Assert.Equal(16, values.Count);
        Assert.Equal(Run(Write("new", Kl(4, false), Tensors(4, false), []), Inputs(4)), Run(Write("old", Kl(4, false), old, values), Inputs(4)), (a, b) => a.Key == b.Key && a.Value.SequenceEqual(b.Value));
    }

    [Fact]
    public void The_denoisers_latents_are_shifted_and_scaled()
    {
        using var component = Component.Load(Write("kl", Kl(4, false), Tensors(4, false), []));
        var kl = (AutoencoderKL)component.Network;
        IFirstStage stage = kl;
        Assert.Equal((2, 4, 3), (stage.Factor, stage.LatentChannels, stage.ImageChannels));
        var g = new Graph();
        var z = g.Input("z", new Shape(1, 5, 4, 4));
        g.Output("raw", kl.Decode(g, z));
        g.Output("scaled", stage.DecodeFromLatent(g, g.Affine(z, 0.5, -0.25 * 0.5)));
        var image = g.Input("image", new Shape(1, 6, 4, 3));
        var (mean, deviation) = kl.Posterior(g, kl.Moments(g, image));
        var noise = g.Input("noise", new Shape(1, 3, 2, 4));
        g.Output("sample", g.Affine(g.Plus(mean, g.Times(deviation, noise)), 0.5, -0.125));
        g.Output("encoded", stage.EncodeToLatent(g, image, noise));
        var inputs = g.Inputs.ToDictionary(i => i.Key, i => GraphRunner.Numbers(g.Nodes[i.Value].Type.Shape.Count, i.Value + 3));
        using var device = new CpuDevice(1);
        var got = GraphRunner.OnDevice(device, g, inputs);
        var exact = Interpreter.Run(g, inputs);
        foreach (string name in exact.Keys) Assert.True(GraphRunner.RelativeError(exact[name], got[name]) <= 2e-5, name);
        Assert.True(GraphRunner.RelativeError(exact["raw"], exact["scaled"]) <= 1e-6);
        Assert.True(GraphRunner.RelativeError(exact["sample"], exact["encoded"]) <= 1e-6);
    }

    [Theory]
    [InlineData("\"act_fn\": \"mish\"", "act_fn", "mish")]
    [InlineData("\"norm_num_groups\": 3", "norm_num_groups", "3 groups")]
    [InlineData("\"up_block_types\": [\"UpDecoderBlock2D\", \"AttnUpDecoderBlock2D\"]", "up_block_types", "mirror")]
    [InlineData("\"down_block_types\": [\"DownBlock2D\", \"DownEncoderBlock2D\"]", "down_block_types", "DownBlock2D")]
    [InlineData("\"block_out_channels\": []", "block_out_channels", "found 0")]
    [InlineData("\"scaling_factor\": 0", "scaling_factor", "positive")]
    [InlineData("\"latents_mean\": [1]", "latents_mean", "not supported")]
    [InlineData("\"latent_channels\": 5", "encoder.conv_out.weight", "[10, 16, 3, 3]")]
    [InlineData("\"layers_per_block\": 2", "encoder.down_blocks.0.resnets.1.norm1.weight", "missing")]
    public void A_configuration_that_does_not_fit_is_an_error_that_names_the_field(string field, string named, string part)
    {
        string key = field[..field.IndexOf(':')];
        string config = string.Join(",\n", Kl(4, false).Where(l => !l.StartsWith(key, StringComparison.Ordinal)).Append(field));
        string path = Write("bad", [config], Tensors(4, false), []);
        var e = Assert.Throws<ModelFileException>(() => Component.Load(path));
        Assert.Contains(named, e.Message, StringComparison.Ordinal);
        Assert.Contains(part, e.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("in.image", new long[] { 1, 3, 1, 8 })]
    [InlineData("in.image", new long[] { 1, 4, 8, 8 })]
    [InlineData("in.image", new long[] { 3, 8, 8 })]
    [InlineData("in.latent", new long[] { 1, 3, 4, 4 })]
    [InlineData("in.noise", new long[] { 1, 4, 3, 4 })]
    public void An_input_that_does_not_fit_is_an_error_that_names_it(string name, long[] shape)
    {
        string path = Write("kl", Kl(4, false), Tensors(4, false), []);
        var inputs = Inputs(4);
        inputs[name] = shape;
        var e = Assert.Throws<ModelFileException>(() => Run(path, inputs));
        Assert.Contains(name, e.Message, StringComparison.Ordinal);
        inputs.Clear();
        inputs["in.picture"] = [1, 3, 8, 8];
        e = Assert.Throws<ModelFileException>(() => Run(path, inputs));
        Assert.Contains("in.picture", e.Message, StringComparison.Ordinal);
    }

    private static string[] Kl(int latent, bool quant) =>
    [
        "\"_class_name\": \"AutoencoderKL\"", "\"block_out_channels\": [8, 16]", "\"down_block_types\": [\"DownEncoderBlock2D\", \"DownEncoderBlock2D\"]",
        "\"up_block_types\": [\"UpDecoderBlock2D\", \"UpDecoderBlock2D\"]", "\"layers_per_block\": 1", $"\"latent_channels\": {latent.ToString(CultureInfo.InvariantCulture)}", "\"norm_num_groups\": 4",
        "\"scaling_factor\": 0.5", "\"shift_factor\": 0.25", $"\"use_quant_conv\": {(quant ? "true" : "false")}", $"\"use_post_quant_conv\": {(quant ? "true" : "false")}",
    ];

    private static Dictionary<string, long[]> Inputs(int latent) => new() { ["in.image"] = [1, 3, 8, 8], ["in.latent"] = [1, latent, 4, 4], ["in.noise"] = [1, latent, 4, 4] };

    private static Dictionary<string, long[]> Tensors(int latent, bool quant)
    {
        var all = new Dictionary<string, long[]>();
        void Conv(string name, long inputs, long outputs, long kernel) => (all[name + ".weight"], all[name + ".bias"]) = ([outputs, inputs, kernel, kernel], [outputs]);
        void Vector(string name, long channels) => (all[name + ".weight"], all[name + ".bias"]) = ([channels], [channels]);
        void Resnet(string name, long inputs, long outputs)
        {
            Vector(name + ".norm1", inputs);
            Conv(name + ".conv1", inputs, outputs, 3);
            Vector(name + ".norm2", outputs);
            Conv(name + ".conv2", outputs, outputs, 3);
            if (inputs != outputs) Conv(name + ".conv_shortcut", inputs, outputs, 1);
        }

        void Middle(string name)
        {
            Resnet(name + ".resnets.0", 16, 16);
            Vector(name + ".attentions.0.group_norm", 16);
            foreach (string layer in new[] { "to_q", "to_k", "to_v", "to_out.0" }) (all[$"{name}.attentions.0.{layer}.weight"], all[$"{name}.attentions.0.{layer}.bias"]) = ([16, 16], [16]);
            Resnet(name + ".resnets.1", 16, 16);
        }

        Conv("encoder.conv_in", 3, 8, 3);
        Resnet("encoder.down_blocks.0.resnets.0", 8, 8);
        Conv("encoder.down_blocks.0.downsamplers.0.conv", 8, 8, 3);
        Resnet("encoder.down_blocks.1.resnets.0", 8, 16);
        Middle("encoder.mid_block");
        Vector("encoder.conv_norm_out", 16);
        Conv("encoder.conv_out", 16, 2 * latent, 3);
        if (quant) Conv("quant_conv", 2 * latent, 2 * latent, 1);
        if (quant) Conv("post_quant_conv", latent, latent, 1);
        Conv("decoder.conv_in", latent, 16, 3);
        Middle("decoder.mid_block");
        Resnet("decoder.up_blocks.0.resnets.0", 16, 16);
        Resnet("decoder.up_blocks.0.resnets.1", 16, 16);
        Conv("decoder.up_blocks.0.upsamplers.0.conv", 16, 16, 3);
        Resnet("decoder.up_blocks.1.resnets.0", 16, 8);
        Resnet("decoder.up_blocks.1.resnets.1", 8, 8);
        Vector("decoder.conv_norm_out", 8);
        Conv("decoder.conv_out", 8, 3, 3);
        return all;
    }

    private static float[] Identity(int n) => [.. Enumerable.Range(0, n * n).Select(i => i / n == i % n ? 1f : 0f)];

    private string Write(string name, IEnumerable<string> config, Dictionary<string, long[]> shapes, Dictionary<string, float[]> values)
    {
        folder.Write($"{name}/config.json", $"{{{string.Join(",\n", config)}}}");
        SafetensorsWriter.Write(folder[$"{name}/model.safetensors"], shapes.Select(t => new TensorData(
            t.Key, StorageType.F32, t.Value, MemoryMarshal.AsBytes((values.TryGetValue(t.Key, out float[]? v) ? v : GoldenModel.Recipe(t.Key, t.Value)).AsSpan()).ToArray())), overwrite: true);
        return folder[name];
    }

    private Dictionary<string, float[]> Run(string path, Dictionary<string, long[]> inputs)
    {
        SafetensorsWriter.Write(folder["in.safetensors"], inputs.Select(i => new TensorData(i.Key, StorageType.F32, i.Value, MemoryMarshal.AsBytes(GoldenModel.Recipe(i.Key, i.Value).AsSpan()).ToArray())), overwrite: true);
        using var component = Component.Load(path);
        Assert.Empty(component.Account.Unused);
        using var given = Checkpoint.Open(folder["in.safetensors"]);
        using var device = new CpuDevice(1);
        return Component.Run(component, given, device).ToDictionary(r => r.Name, r => MemoryMarshal.Cast<byte, float>(r.Data.Span).ToArray());
    }

    private static double Difference(float[] a, float[] b) => a.Length == b.Length ? a.Zip(b, (x, y) => Math.Abs((double)x - y)).Max() : double.PositiveInfinity;
}
