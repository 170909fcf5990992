using System.Runtime.InteropServices;
using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Tests.Weights;

public sealed class LoraTests : IDisposable
{
    private const string Query = "down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_q.weight", Out = "up_blocks.2.attentions.0.transformer_blocks.0.attn2.to_out.0.weight";
    private const string Conv = "mid_block.resnets.1.conv1.weight", Projection = "down_blocks.1.attentions.0.proj_in.weight", Other = "conv_in.bias";

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    public static TheoryData<string, string, string> Names() => new()
    {
        { "lora_unet_down_blocks_0_attentions_1_transformer_blocks_0_attn1_to_q.lora_down.weight", "lora_unet_down_blocks_0_attentions_1_transformer_blocks_0_attn1_to_q.lora_up.weight", Query },
        { "lora_unet_input_blocks_2_1_transformer_blocks_0_attn1_to_q.lora_down.weight", "lora_unet_input_blocks_2_1_transformer_blocks_0_attn1_to_q.lora_up.weight", Query },
        { "unet.down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_q.lora_A.weight", "unet.down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_q.lora_B.weight", Query },
        { "down_blocks.0.attentions.1.transformer_blocks.0.attn1.processor.to_q_lora.down.weight", "down_blocks.0.attentions.1.transformer_blocks.0.attn1.processor.to_q_lora.up.weight", Query },
        { "unet.up_blocks.2.attentions.0.transformer_blocks.0.attn2.processor.to_out_lora.down.weight", "unet.up_blocks.2.attentions.0.transformer_blocks.0.attn2.processor.to_out_lora.up.weight", Out },
        { "base_model.model.up_blocks.2.attentions.0.transformer_blocks.0.attn2.to_out.0.lora_A.default.weight", "base_model.model.up_blocks.2.attentions.0.transformer_blocks.0.attn2.to_out.0.lora_B.default.weight", Out },
        { "lora_unet_output_blocks_6_1_transformer_blocks_0_attn2_to_out_0.lora_down.weight", "lora_unet_output_blocks_6_1_transformer_blocks_0_attn2_to_out_0.lora_up.weight", Out },
        { "lora_unet_middle_block_2_in_layers_2.lora_down.weight", "lora_unet_middle_block_2_in_layers_2.lora_up.weight", Conv },
        { "lora_unet_mid_block_resnets_1_conv1.lora_down.weight", "lora_unet_mid_block_resnets_1_conv1.lora_up.weight", Conv },
        { "lora_unet_down_blocks_1_attentions_0_proj_in.lora_down.weight", "lora_unet_down_blocks_1_attentions_0_proj_in.lora_up.weight", Projection },
    };

    [Theory]
    [MemberData(nameof(Names))]
    public void Every_naming_finds_its_layer_and_changes_nothing_else(string down, string up, string target)
    {
        using var model = Model(StorageType.F32);
        model.TryGet(target, out var entry);
        long[] downShape = [2, .. entry.Dims[1..]], upShape = [entry.Dims[0], 2, .. entry.Dims.Skip(2).Select(_ => 1L)];
        using var lora = Lora("a.safetensors", (down, downShape), (up, upShape));
        var before = model.Names.ToDictionary(n => n, n => Read(model, n));
        model.Merge = new LoraMerge(model, "unet", [new(lora, 0.5)]);
        Assert.Equal(1, model.Merge.Count);
        foreach (string name in model.Names)
        {
            double[] expected = before[name];
            if (name == target) expected = Merged(expected, Numbers(up, upShape), Numbers(down, downShape), 2, 0.5);
            AssertClose(expected, Read(model, name), 1e-6);
        }
    }

    [Fact]
    public void Alpha_over_rank_and_strengths_scale_and_several_files_add_up()
    {
        using var model = Model(StorageType.F32);
        double[] before = Read(model, Query);
        const string layer = "lora_unet_down_blocks_0_attentions_1_transformer_blocks_0_attn1_to_q";
        using var first = Lora("a.safetensors", ($"{layer}.lora_down.weight", [3, 8]), ($"{layer}.lora_up.weight", [6, 3]), ($"{layer}.alpha", []));
        using var second = Lora("b.safetensors", ($"{layer}.lora_down.weight", [1, 8]), ($"{layer}.lora_up.weight", [6, 1]));
        model.Merge = new LoraMerge(model, "unet", [new(first, 0.8), new(second, -1.5)]);
        double alpha = Numbers($"{layer}.alpha", [])[0];
        double[] expected = Merged(before, Numbers($"{layer}.lora_up.weight", [6, 3]), Numbers($"{layer}.lora_down.weight", [3, 8]), 3, 0.8 * alpha / 3);
        expected = Merged(expected, Numbers($"{layer}.lora_up.weight", [6, 1]), Numbers($"{layer}.lora_down.weight", [1, 8]), 1, -1.5);
        AssertClose(expected, Read(model, Query), 1e-6);
    }

    [Theory]
    [InlineData(StorageType.F16, 6e-4)]
    [InlineData(StorageType.BF16, 5e-3)]
    public void Half_weights_stay_half_and_are_rounded_once(StorageType type, double bound)
    {
        using var model = Model(type);
        double[] before = Read(model, Query), untouched = Read(model, Out);
        const string layer = "lora_unet_down_blocks_0_attentions_1_transformer_blocks_0_attn1_to_q";
        using var lora = Lora("a.safetensors", ($"{layer}.lora_down.weight", [2, 8]), ($"{layer}.lora_up.weight", [6, 2]));
        model.Merge = new LoraMerge(model, "unet", [new(lora)]);
        double[] exact = Merged(before, Numbers($"{layer}.lora_up.weight", [6, 2]), Numbers($"{layer}.lora_down.weight", [2, 8]), 2, 1), got = Read(model, Query);
        model.TryGet(Query, out var entry);
        Assert.Equal(type, entry.Type);
        AssertClose(exact, got, bound);
        Assert.NotEqual(before, got);
        Assert.Equal(untouched, Read(model, Out));
    }

    [Fact]
    public void Strength_zero_changes_no_byte_and_other_components_are_passed_over()
    {
        using var model = Model(StorageType.F16);
        var before = model.Names.ToDictionary(n => n, n => Bytes(model, n));
        const string layer = "lora_unet_down_blocks_0_attentions_1_transformer_blocks_0_attn1_to_q", text = "lora_te_text_model_encoder_layers_0_self_attn_q_proj";
        using var lora = Lora(
            "a.safetensors", ($"{layer}.lora_down.weight", [2, 8]), ($"{layer}.lora_up.weight", [6, 2]), ($"{text}.lora_down.weight", [2, 4]), ($"{text}.lora_up.weight", [4, 2]));
        Assert.Equal(["text_encoder", "unet"], lora.Components.Order());
        model.Merge = new LoraMerge(model, "unet", [new(lora, 0)]);
        foreach (string name in model.Names) Assert.Equal(before[name], Bytes(model, name));
        model.Merge = new LoraMerge(model, "text_encoder_2", [new(lora)]);
        foreach (string name in model.Names) Assert.Equal(before[name], Bytes(model, name));
    }

    [Theory]
    [InlineData(StorageType.F16)]
    [InlineData(StorageType.BF16)]
    [InlineData(StorageType.F32)]
    [InlineData(StorageType.F64)]
    public void A_changed_tensor_read_by_parts_is_the_one_read_whole(StorageType type)
    {
        using var model = Model(type);
        const string layer = "lora_unet_down_blocks_0_attentions_1_transformer_blocks_0_attn1_to_q";
        using var lora = Lora("a.safetensors", ($"{layer}.lora_down.weight", [2, 8]), ($"{layer}.lora_up.weight", [6, 2]));
        byte[] plain = Bytes(model, Query);
        model.Merge = new LoraMerge(model, "unet", [new(lora), new(lora, 0.5)]);
        byte[] whole = Bytes(model, Query);
        Assert.NotEqual(plain, whole);
        int size = type.Bits() / 8;
        foreach (int elements in (int[])[1, 5, 8, 11, 48])
        {
            for (int start = 0; start < whole.Length; start += elements * size)
            {
                var part = new byte[Math.Min(elements * size, whole.Length - start)];
                Assert.True(model.TryReadPart(Query, start, part));
                Assert.Equal(whole[start..(start + part.Length)], part);
            }
        }
    }

    [Fact]
    public void A_LoRA_for_another_model_names_the_module_and_the_shapes()
    {
        using var model = Model(StorageType.F32);
        const string layer = "lora_unet_down_blocks_0_attentions_1_transformer_blocks_0_attn1_to_q";
        using var wide = Lora("wide.safetensors", ($"{layer}.lora_down.weight", [2, 16]), ($"{layer}.lora_up.weight", [6, 2]));
        var e = Assert.Throws<ModelFileException>(() => new LoraMerge(model, "unet", [new(wide)]));
        foreach (string part in new[] { "wide.safetensors", "attn1_to_q", "[2, 16]", "[6, 2]", "[6, 8]", Query, "another model" }) Assert.Contains(part, e.Message, StringComparison.Ordinal);
        Assert.Throws<ModelFileException>(() => new LoraMerge(model, "unet", [new(wide, 0)]));

        const string absent = "lora_unet_down_blocks_7_attentions_1_transformer_blocks_0_attn1_to_q";
        using var deep = Lora("deep.safetensors", ($"{absent}.lora_down.weight", [2, 8]), ($"{absent}.lora_up.weight", [6, 2]));
        e = Assert.Throws<ModelFileException>(() => new LoraMerge(model, "unet", [new(deep)]));
        foreach (string part in new[] { "deep.safetensors", "down_blocks_7", "[2, 8]", "[6, 2]", "1 of 1", "another model" }) Assert.Contains(part, e.Message, StringComparison.Ordinal);
        Assert.Throws<UsageException>(() => new LoraMerge(model, "unet", [new(deep, double.NaN)]));
    }

    [Theory]
    [InlineData("lora_unet_x.lora_down.weight", "lora_up")]
    [InlineData("lora_unet_x.lora_up.weight", "lora_down")]
    [InlineData("lora_unet_x.hada_w1_a", "LoHa")]
    [InlineData("lora_unet_x.lokr_w1", "LoKr")]
    [InlineData("lora_unet_x.dora_scale", "DoRA")]
    [InlineData("conv_in.weight", "conv_in.weight")]
    public void What_is_no_LoRA_is_an_error_that_names_the_key(string key, string named)
    {
        var e = Assert.Throws<ModelFileException>(() => Lora("bad.safetensors", (key, [2, 2])));
        Assert.Contains(named, e.Message, StringComparison.Ordinal);
        Assert.Contains("bad.safetensors", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Halves_that_do_not_fit_each_other_are_an_error()
    {
        var e = Assert.Throws<ModelFileException>(() => Lora("bad.safetensors", ("lora_unet_x.lora_down.weight", [2, 8]), ("lora_unet_x.lora_up.weight", [6, 3])));
        Assert.Contains("[6, 3]", e.Message, StringComparison.Ordinal);
        Assert.Contains("[2, 8]", e.Message, StringComparison.Ordinal);
        Assert.Throws<ModelFileException>(() => Lora("twice.safetensors", ("lora_unet_x.lora_down.weight", [2, 8]), ("unet.x.lora_A.weight", [2, 8]), ("unet.x.lora_B.weight", [2, 2])));
    }

    [Fact]
    public void Files_are_given_with_strengths_and_what_the_model_lacks_is_an_error()
    {
        Lora("a.safetensors", ("lora_unet_x.lora_down.weight", [2, 8]), ("lora_unet_x.lora_up.weight", [6, 2]), ("lora_te2_y.lora_down.weight", [2, 8]), ("lora_te2_y.lora_up.weight", [6, 2])).Dispose();
        string path = folder["a.safetensors"];
        using var set = LoraSet.Open([path, path + ":0.25", path + ":-1e-1"]);
        Assert.Equal([1, 0.25, -0.1], set.Uses.Select(u => u.Strength));
        Assert.Throws<UsageException>(() => LoraSet.Open([path + ":much"]));
        Assert.Throws<ModelFileException>(() => LoraSet.Open([folder["b.safetensors"]]));
        set.ThrowIfUnclaimed(["unet", "text_encoder", "text_encoder_2"]);
        set.ThrowIfUnclaimed(["transformer", "text_encoder_2"]);
        var e = Assert.Throws<ModelFileException>(() => set.ThrowIfUnclaimed(["unet", "text_encoder"]));
        Assert.Contains("text_encoder_2", e.Message, StringComparison.Ordinal);
    }

    private Checkpoint Model(StorageType type)
    {
        (string Name, long[] Shape)[] tensors = [(Query, [6, 8]), (Out, [5, 3]), (Conv, [4, 3, 3, 3]), (Projection, [7, 2, 1, 1]), (Other, [9])];
        return Write($"model-{type}.safetensors", tensors, type);
    }

    private LoraFile Lora(string name, params (string Name, long[] Shape)[] tensors)
    {
        Write(name, tensors, StorageType.F32).Dispose();
        return LoraFile.Open(folder[name]);
    }

    private Checkpoint Write(string file, (string Name, long[] Shape)[] tensors, StorageType type)
    {
        var data = tensors.Select(t =>
        {
            double[] values = Numbers(t.Name, t.Shape);
            var bytes = new byte[values.Length * type.Bits() / 8];
            Interpreter.ToBytes(values, type.ToDType()!.Value, bytes);
            return new TensorData(t.Name, type, t.Shape, bytes);
        });
        SafetensorsWriter.Write(folder[file], data);
        return Checkpoint.Open(folder[file]);
    }

    private static double[] Numbers(string name, long[] shape) => DiffusionCore.Tests.Runtime.GraphRunner.Numbers(shape.Aggregate(1L, (p, d) => p * d), name.Length + name[^8]);

    private static double[] Merged(double[] weight, double[] up, double[] down, int rank, double scale)
    {
        var y = (double[])weight.Clone();
        int width = down.Length / rank;
        for (int i = 0; i < y.Length; i++)
            for (int r = 0; r < rank; r++) y[i] += scale * up[i / width * rank + r] * down[r * width + i % width];
        return y;
    }

    private static byte[] Bytes(Checkpoint file, string name)
    {
        file.TryGet(name, out var entry);
        var bytes = new byte[entry.Bytes];
        file.Read(name, bytes);
        return bytes;
    }

    private static double[] Read(Checkpoint file, string name)
    {
        file.TryGet(name, out var entry);
        return Interpreter.FromBytes(Bytes(file, name), entry.Type.ToDType()!.Value);
    }

    private static void AssertClose(double[] expected, double[] got, double bound)
    {
        Assert.Equal(expected.Length, got.Length);
        for (int i = 0; i < got.Length; i++) Assert.InRange(got[i], expected[i] - bound * (1 + Math.Abs(expected[i])), expected[i] + bound * (1 + Math.Abs(expected[i])));
    }
}
