using System.Runtime.InteropServices;
using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Tests.Weights;

public class WeightScopeTests
{
    [Fact]
    public void The_account_says_what_was_used_and_what_was_not()
    {
        using var folder = new TemporaryFolder();
        using var checkpoint = Open(folder, Zeros("mid.conv.weight", 4, 3), Zeros("mid.conv.bias", 4), Zeros("ema.decay", 1));
        var scope = WeightScope.Of(checkpoint, "unet");
        var conv = scope.At("mid").At("conv");
        Assert.Equal("unet.mid.conv.weight", conv.Tensor("weight", new Shape(4, 3)).Name);
        conv.Tensor("bias", new Shape(4));
        conv.Tensor("bias", new Shape(4));
        scope.ThrowIfIncomplete();
        var account = scope.Account();
        Assert.Equal("unet: 2 tensors used, 0 missing, 1 unused", account.ToString());
        Assert.Equal(["ema.decay"], account.Unused);
    }

    [Fact]
    public void A_prefix_of_the_file_is_part_of_every_name()
    {
        using var folder = new TemporaryFolder();
        using var checkpoint = Open(folder, Zeros("model.diffusion_model.out.weight", 2));
        var scope = WeightScope.Of(checkpoint, "unet", "model.diffusion_model.");
        Assert.True(scope.At("out").Has("weight"));
        Assert.Equal(2, scope.At("out").Tensor("weight", new Shape(2)).Type.Shape.Count);
        Assert.Empty(scope.Account().Unused);
    }

    [Theory]
    [InlineData(new long[] { 1280, 640, 3, 3 }, "[1280, 640, 3, 3]")]
    [InlineData(new long[] { 1280, 1280, 9 }, "[1280, 1280, 9]")]
    [InlineData(new long[] { }, "[]")]
    [InlineData(new long[] { 1, 1, 1, 1, 1, 1, 1, 1 }, "[1, 1, 1, 1, 1, 1, 1, 1]")]
    public void Another_shape_is_an_error_with_both_shapes(long[] dims, string found)
    {
        using var folder = new TemporaryFolder();
        using var checkpoint = Open(folder, new TensorData("mid_block.resnets.0.conv1.weight", StorageType.F16, dims, new byte[2 * dims.Aggregate(1L, (a, d) => a * d)]));
        var e = Assert.Throws<ModelFileException>(() => WeightScope.Of(checkpoint, "unet").At("mid_block.resnets.0.conv1").Tensor("weight", new Shape(1280, 1280, 3, 3)));
        Assert.Equal($"{folder["model.safetensors"]}: unet.mid_block.resnets.0.conv1.weight: expected [1280, 1280, 3, 3], file has {found}", e.Message);
    }

    [Fact]
    public void All_that_is_missing_is_told_at_once()
    {
        using var folder = new TemporaryFolder();
        using var checkpoint = Open(folder, Zeros("a", 1));
        var scope = WeightScope.Of(checkpoint, "vae");
        scope.Tensor("a", new Shape(1));
        for (int i = 0; i < 5; i++)
        {
            var placeholder = scope.Tensor($"m{i}", new Shape(7, i));
            Assert.Equal(new Shape(7, i), placeholder.Type.Shape);
            Assert.Throws<InvalidOperationException>(() => placeholder.Read(new byte[28 * i]));
        }

        scope.Tensor("m0", new Shape(7, 0));
        Assert.Equal("vae: 1 tensors used, 5 missing, 0 unused", scope.Account().ToString());
        var e = Assert.Throws<ModelFileException>(scope.ThrowIfIncomplete);
        Assert.Equal("vae.m0", e.Item);
        Assert.Contains("5 of 6 tensors", e.Message, StringComparison.Ordinal);
        Assert.Contains("m0, m1, m2 and 2 more", e.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(new long[] { 4, 3, 1, 1 }, true)]
    [InlineData(new long[] { 4, 3, 1 }, true)]
    [InlineData(new long[] { 4, 3 }, true)]
    [InlineData(new long[] { 4, 3, 3, 1 }, false)]
    [InlineData(new long[] { 1, 4, 3 }, false)]
    [InlineData(new long[] { 4 }, false)]
    public void A_one_by_one_convolution_is_a_matrix_where_asked(long[] dims, bool fits)
    {
        using var folder = new TemporaryFolder();
        using var checkpoint = Open(folder, new TensorData("proj.weight", StorageType.F32, dims, new byte[4 * dims.Aggregate(1L, (a, d) => a * d)]));
        var scope = WeightScope.Of(checkpoint, "unet").At("proj");
        if (fits) Assert.Equal(new Shape(4, 3), scope.TensorSqueezed("weight", new Shape(4, 3)).Type.Shape);
        else Assert.Throws<ModelFileException>(() => scope.TensorSqueezed("weight", new Shape(4, 3)));
        if (dims.Length != 2) Assert.Throws<ModelFileException>(() => scope.Tensor("weight", new Shape(4, 3)));
    }

    [Fact]
    public void The_squeeze_keeps_extents_of_one_that_are_asked_for()
    {
        using var folder = new TemporaryFolder();
        using var checkpoint = Open(folder, Zeros("w", 4, 1, 1, 1));
        Assert.Equal(new Shape(4, 1), WeightScope.Of(checkpoint, "unet").TensorSqueezed("w", new Shape(4, 1)).Type.Shape);
    }

    [Fact]
    public void One_of_several_spellings_is_found_by_whole_segments()
    {
        using var folder = new TemporaryFolder();
        using var checkpoint = Open(folder, Zeros("attn.query.weight", 2), Zeros("attn.to_k2.weight", 2));
        var attention = WeightScope.Of(checkpoint, "unet").At("attn");
        Assert.Equal("unet.attn.query.weight", attention.AtAny("to_q", "query").Tensor("weight", new Shape(2)).Name);
        Assert.Equal("unet.attn.to_k.weight", attention.AtAny("to_k", "key").Tensor("weight", new Shape(2)).Name);
        Assert.Equal(["attn.to_k.weight"], WeightScopeMissing(attention));

        static IReadOnlyList<string> WeightScopeMissing(WeightScope scope) => scope.Account().Missing;
    }

    [Fact]
    public void A_weight_reads_the_bytes_of_its_tensor()
    {
        float[] values = [1, 2, 3, 4, 5, 6];
        using var folder = new TemporaryFolder();
        using var checkpoint = Open(folder, Zeros("a", 5), new TensorData("w", StorageType.F32, [2, 3], MemoryMarshal.AsBytes(values.AsSpan()).ToArray()), Zeros("z", 1));
        var got = new float[6];
        WeightScope.Of(checkpoint, "unet").Tensor("w", new Shape(2, 3)).Read(MemoryMarshal.AsBytes(got.AsSpan()));
        Assert.Equal(values, got);
    }

    private static TensorData Zeros(string name, params long[] dims) => new(name, StorageType.F32, dims, new byte[4 * dims.Aggregate(1L, (a, d) => a * d)]);

    private static Checkpoint Open(TemporaryFolder folder, params TensorData[] tensors)
    {
        SafetensorsWriter.Write(folder["model.safetensors"], tensors);
        return Checkpoint.Open(folder["model.safetensors"]);
    }
}
