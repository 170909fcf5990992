using System.Globalization;
using System.Text.Json;
using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Kernels.Tests;

public unsafe class HalfConversionTests
{
    [Fact]
    public void All_half_patterns_widen_exactly_and_come_back()
    {
        var patterns = Enumerable.Range(0, 65536).Select(i => (ushort)i).ToArray();
        var back = new ushort[65536];
        using var y = new FloatBuffer(65536);
        using var pool = new WorkerPool(2);
        fixed (ushort* p = patterns, b = back)
        {
            HalfConversion.F16ToF32(pool, p, y.P, 65536);
            HalfConversion.F32ToF16(pool, y.P, b, 65536);
            for (int i = 0; i < 65536; i++)
            {
                var half = BitConverter.UInt16BitsToHalf((ushort)i);
                Assert.Equal(BitConverter.SingleToUInt32Bits((float)half), BitConverter.SingleToUInt32Bits(y.P[i]));
                if (Half.IsNaN(half)) Assert.True(Half.IsNaN(BitConverter.UInt16BitsToHalf(back[i])) && (back[i] >> 15) == (i >> 15));
                else Assert.Equal(i, back[i]);
            }

            HalfConversion.BF16ToF32(pool, p, y.P, 65536);
            HalfConversion.F32ToBF16(pool, y.P, b, 65536);
            for (int i = 0; i < 65536; i++)
            {
                Assert.Equal((uint)i << 16, BitConverter.SingleToUInt32Bits(y.P[i]));
                if (float.IsNaN(y.P[i])) Assert.Equal(i | 0x40, back[i]);
                else Assert.Equal(i, back[i]);
            }
        }
    }

    [Fact]
    public void Narrowing_rounds_to_nearest_even_around_every_half()
    {
        // Each half, its neighbour's midpoint, and the floats next to both.
        var values = new List<float>();
        for (int i = 0; i < 0x7C00; i++)
        {
            float low = (float)BitConverter.UInt16BitsToHalf((ushort)i), high = i == 0x7BFF ? 65536 : (float)BitConverter.UInt16BitsToHalf((ushort)(i + 1));
            float middle = (low + high) / 2;
            values.AddRange([MathF.BitDecrement(low), MathF.BitIncrement(low), middle, MathF.BitDecrement(middle), -MathF.BitIncrement(middle), -middle]);
        }

        values.AddRange([1e-40f, -1e-44f, float.MaxValue, float.MinValue, float.PositiveInfinity, float.NegativeInfinity]);
        using var x = new FloatBuffer(values.ToArray());
        var y = new ushort[values.Count];
        using var pool = new WorkerPool(2);
        fixed (ushort* p = y) HalfConversion.F32ToF16(pool, x.P, p, x.Count);
        for (int i = 0; i < y.Length; i++) Assert.True(BitConverter.HalfToUInt16Bits((Half)values[i]) == y[i], $"{values[i]:G9}: {y[i]:X4}");
    }

    [Fact]
    public void Narrowing_to_bfloat_rounds_to_nearest_even()
    {
        var random = new Random(8);
        const int count = 20_003;
        using var x = new FloatBuffer(count);
        for (int i = 0; i < count; i++)
        {
            uint high = (uint)random.Next(0x10000) << 16;
            x.P[i] = BitConverter.UInt32BitsToSingle(high | (i % 4) switch { 0 => 0x8000u, 1 => 0x7FFFu, 2 => 0x8001u, _ => (uint)random.Next(0x10000) });
        }

        var y = new ushort[count];
        using var pool = new WorkerPool(1);
        fixed (ushort* p = y) HalfConversion.F32ToBF16(pool, x.P, p, count);
        for (int i = 0; i < count; i++)
        {
            double exact = x.P[i];
            if (double.IsNaN(exact))
            {
                Assert.True(float.IsNaN(BitConverter.UInt32BitsToSingle((uint)y[i] << 16)));
                continue;
            }

            // Nearest of the two neighbours, the even one in the middle; infinity stands for 2^128.
            uint down = BitConverter.SingleToUInt32Bits(x.P[i]) >> 16;
            double low = Value(down), high = Value(down + 1), toLow = Math.Abs(exact - low), toHigh = Math.Abs(high - exact);
            uint expected = toLow < toHigh || (toLow == toHigh && down % 2 == 0) || double.IsInfinity(exact) ? down : down + 1;
            Assert.Equal(expected, y[i]);
        }

        static double Value(uint bits) => (bits & 0x7FFF) == 0x7F80 ? Math.CopySign(Math.ScaleB(1, 128), (bits & 0x8000) == 0 ? 1 : -1) : BitConverter.UInt32BitsToSingle(bits << 16);
    }

    [ConformanceFact("half_formats.json")]
    public void Narrowing_matches_the_stored_cases()
    {
        using var document = JsonDocument.Parse(File.ReadAllText(Path.Combine(Conformance.Folder!, "half_formats.json")));
        using var pool = new WorkerPool(1);
        int compared = 0;
        foreach (var item in document.RootElement.GetProperty("cases").EnumerateArray())
        {
            float x = BitConverter.UInt32BitsToSingle((uint)Bits(item, "f32_bits"));
            ushort half, brain;
            HalfConversion.F32ToF16(pool, &x, &half, 1);
            HalfConversion.F32ToBF16(pool, &x, &brain, 1);
            if (float.IsNaN(x))
            {
                Assert.True(Half.IsNaN(BitConverter.UInt16BitsToHalf(half)) && (brain & 0x7FFF) > 0x7F80);
            }
            else
            {
                Assert.Equal(Bits(item, "f16_bits"), half);
                Assert.Equal(Bits(item, "bf16_bits"), brain);
            }

            compared++;
        }

        Assert.True(compared > 20, $"{compared} cases");

        static int Bits(JsonElement item, string name) => int.Parse(item.GetProperty(name).GetString()!, NumberStyles.HexNumber, CultureInfo.InvariantCulture);
    }
}
