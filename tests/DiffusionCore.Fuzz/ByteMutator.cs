using System.Buffers.Binary;

namespace DiffusionCore.Fuzz;

/// <summary>Damage that needs no knowledge of a format.</summary>
public static class ByteMutator
{
    private static readonly byte[] Odd = [0, 1, 0x7F, 0x80, 0xFE, 0xFF, (byte)' ', (byte)'"', (byte)'\\', (byte)'{', (byte)'}', (byte)'[', (byte)']', (byte)'0', (byte)'9', (byte)'-', (byte)',', (byte)':'];
    private static readonly ulong[] OddNumbers = [0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x100000000, 100_000_000, 100_000_001, long.MaxValue, 1ul << 63, ulong.MaxValue];

    /// <summary>An integer that tends to break things.</summary>
    public static ulong Number(Draw draw) => draw.OneIn(4) ? draw.Bits() >> draw.Below(64) : draw.Of(OddNumbers);

    /// <summary>The input with one to four places damaged.</summary>
    public static byte[] Damage(byte[] input, Draw draw)
    {
        int places = draw.Between(1, 4);
        for (int i = 0; i < places; i++) input = Once(input, draw);
        return input;
    }

    private static byte[] Once(byte[] input, Draw draw)
    {
        int at = draw.Below(input.Length), count = Math.Min(draw.OneIn(8) ? draw.Below(input.Length + 1) : draw.Between(1, 8), input.Length - at);
        switch (draw.Below(9))
        {
            case 0 when input.Length > 0:
                return Set(input, at, (byte)(input[at] ^ (1 << draw.Below(8))));
            case 1 when input.Length > 0:
                return Set(input, at, draw.Of(Odd));
            case 2 when input.Length > 0:
                return Set(input, at, (byte)draw.Bits());
            case 3:
                return input[..at];
            case 4:
                return [.. input[..at], .. input[(at + count)..]];
            case 5:
                return [.. input[..at], .. input[at..(at + count)], .. input[at..]];
            case 6:
                return [.. input[..at], .. draw.Bytes(draw.Between(1, 8)), .. input[at..]];
            case 7:
                {
                    // A whole field overwritten, in one of the usual widths and byte orders.
                    byte[] result = [.. input];
                    Span<byte> field = stackalloc byte[8];
                    int width = 1 << draw.Below(4);
                    ulong number = Number(draw);
                    if (draw.OneIn(2)) BinaryPrimitives.WriteUInt64LittleEndian(field, number);
                    else BinaryPrimitives.WriteUInt64BigEndian(field, number << (64 - 8 * width));
                    field[..Math.Min(width, input.Length - at)].CopyTo(result.AsSpan(at));
                    return result;
                }

            default:
                {
                    int from = draw.Below(input.Length);
                    return [.. input[..at], .. input[from..Math.Min(input.Length, from + draw.Between(1, 64))], .. input[at..]];
                }
        }
    }

    private static byte[] Set(byte[] input, int at, byte value)
    {
        byte[] result = [.. input];
        result[at] = value;
        return result;
    }
}
