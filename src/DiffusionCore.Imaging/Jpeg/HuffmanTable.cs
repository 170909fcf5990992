using DiffusionCore.Runtime;

namespace DiffusionCore.Imaging.Jpeg;

/// <summary>A canonical Huffman code (T.81, annexes C and F.2.2.3).</summary>
internal sealed class HuffmanTable
{
    private const int LongestCode = 16, LookBits = 8;

    private readonly byte[] symbols;
    private readonly int[] last = new int[LongestCode + 1];        // the largest code of a length; -1 where there is none
    private readonly int[] shift = new int[LongestCode + 1];       // from a code of a length to its symbol
    private readonly ushort[] look = new ushort[1 << LookBits];    // length and symbol of codes that are at most LookBits long

    /// <param name="counts">Codes of 1 to 16 bits.</param>
    public HuffmanTable(ReadOnlySpan<byte> counts, ReadOnlySpan<byte> symbols, string name)
    {
        this.symbols = symbols.ToArray();
        int code = 0, at = 0;
        for (int length = 1; length <= LongestCode; length++)
        {
            int count = counts[length - 1];
            if (code + count > 1 << length) throw new ModelFileException(name, "DHT", $"has more codes of {length} bits than there are; the JPEG is damaged");
            shift[length] = at - code;
            last[length] = count == 0 ? -1 : code + count - 1;
            for (int i = 0; i < count && length <= LookBits; i++)
                Array.Fill(look, (ushort)(length << 8 | symbols[at + i]), (code + i) << (LookBits - length), 1 << (LookBits - length));
            code = (code + count) << 1;
            at += count;
        }
    }

    public byte Read(ref BitReader bits)
    {
        int entry = look[bits.Peek(LookBits)];
        if (entry != 0)
        {
            bits.Skip(entry >> 8);
            return (byte)entry;
        }

        int code = bits.Peek(LongestCode);
        for (int length = LookBits + 1; length <= LongestCode; length++)
        {
            int prefix = code >> (LongestCode - length);
            if (prefix > last[length]) continue;
            bits.Skip(length);
            return symbols[prefix + shift[length]];
        }

        throw bits.Bad("a code that its table does not have");
    }
}

/// <summary>Bits of entropy-coded data, most significant first; FF 00 stands for FF, any other FF ends it.</summary>
internal ref struct BitReader(ReadOnlySpan<byte> file, int position, string name)
{
    private readonly ReadOnlySpan<byte> file = file;
    private readonly string name = name;
    private ulong held;
    private int count, missing;

    /// <summary>Where the next byte is read from.</summary>
    public int Position { get; private set; } = position;

    /// <summary>The next bits, zeros after the end; at most 16.</summary>
    public int Peek(int bits)
    {
        if (count < bits) Fill();
        return (int)(held >> (64 - bits));
    }

    public void Skip(int bits)
    {
        held <<= bits;
        count -= bits;
        if (count < missing) throw new ModelFileException(name, null, "is a truncated JPEG: a scan ends before its picture");
    }

    public int Read(int bits)
    {
        if (bits == 0) return 0;
        int value = Peek(bits);
        Skip(bits);
        return value;
    }

    /// <summary>The number of a category and its bits (T.81, F.2.2.1, EXTEND).</summary>
    public int ReadSigned(int bits)
    {
        int value = Read(bits);
        return bits > 0 && value < 1 << (bits - 1) ? value - (1 << bits) + 1 : value;
    }

    /// <summary>Drops the rest of the last byte; what follows in the file must be a marker.</summary>
    public void Align()
    {
        if (count - missing >= 8) throw Bad("bytes after its last block");
        (held, count, missing) = (0, 0, 0);
    }

    public void SkipMarker(byte marker)
    {
        while (Position + 2 < file.Length && file[Position] == 0xFF && file[Position + 1] == 0xFF) Position++;
        if (Position + 2 > file.Length || file[Position] != 0xFF || file[Position + 1] != marker) throw Bad("no restart marker where one is due");
        Position += 2;
    }

    public readonly ModelFileException Bad(string problem) => new(name, "SOS", $"has {problem}; the JPEG is damaged");

    private void Fill()
    {
        while (count <= 56)
        {
            ulong next = 0;
            if (missing > 0 || Position >= file.Length || (file[Position] == 0xFF && (Position + 1 >= file.Length || file[Position + 1] != 0)))
            {
                missing += 8;
            }
            else
            {
                next = file[Position];
                Position += next == 0xFF ? 2 : 1;
            }

            held |= next << (56 - count);
            count += 8;
        }
    }
}
