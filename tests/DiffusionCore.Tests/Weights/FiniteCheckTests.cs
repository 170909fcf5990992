using System.Runtime.InteropServices;
using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Tests.Weights;

public class FiniteCheckTests
{
    public static TheoryData<StorageType, double, string> Values()
    {
        var rows = new TheoryData<StorageType, double, string>();
        foreach (var type in new[] { StorageType.F16, StorageType.BF16, StorageType.F32, StorageType.F64 })
        {
            rows.Add(type, double.NaN, "NaN");
            rows.Add(type, double.PositiveInfinity, "+infinity");
            rows.Add(type, double.NegativeInfinity, "-infinity");
        }

        return rows;
    }

    /// <summary>The tensor is longer than the part that is read at once.</summary>
    [Theory]
    [MemberData(nameof(Values))]
    public void The_tensor_the_element_and_the_value_are_named(StorageType type, double value, string text)
    {
        const int Rows = 700, Columns = 1000, Row = 651, Column = 17, Index = Row * Columns + Column;
        int size = type.Bits() / 8;
        var data = new byte[Rows * Columns * size];
        Encode(type, value).CopyTo(data, Index * size);
        using var folder = new TemporaryFolder();
        SafetensorsWriter.Write(folder["a.safetensors"], [new("a", type, [3], new byte[3 * size]), new("w", type, [Rows, Columns], data)]);
        using var checkpoint = Checkpoint.Open(folder["a.safetensors"]);
        var e = Assert.Throws<ModelFileException>(() => FiniteCheck.Run(checkpoint));
        Assert.Equal("w", e.Item);
        Assert.Contains($"element {Index} of {Rows * Columns}, at [{Row}, {Column}], is {text}", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Finite_numbers_and_types_without_such_numbers_pass()
    {
        float[] values = [0, -0f, float.MaxValue, float.MinValue, float.Epsilon];
        using var folder = new TemporaryFolder();
        SafetensorsWriter.Write(
            folder["a.safetensors"],
            [
                new("f", StorageType.F32, [5], MemoryMarshal.AsBytes(values.AsSpan()).ToArray()),
                new("h", StorageType.F16, [2], new byte[] { 0xFF, 0x7B, 0xFF, 0xFB }),
                new("b", StorageType.BF16, [2], new byte[] { 0x7F, 0x7F, 0x7F, 0xFF }),
                new("d", StorageType.F64, [1], BitConverter.GetBytes(double.MaxValue)),
                new("i", StorageType.I32, [1], new byte[] { 255, 255, 255, 255 }),
                new("e", StorageType.F32, [0, 4], default),
            ]);
        using var checkpoint = Checkpoint.Open(folder["a.safetensors"]);
        FiniteCheck.Run(checkpoint);
    }

    private static byte[] Encode(StorageType type, double value) => type switch
    {
        StorageType.F16 => BitConverter.GetBytes((Half)value),
        StorageType.BF16 => BitConverter.GetBytes((float)value)[2..],
        StorageType.F32 => BitConverter.GetBytes((float)value),
        _ => BitConverter.GetBytes(value),
    };
}
