using DiffusionCore.Runtime;

namespace DiffusionCore.Imaging.Jpeg;

/// <summary>The entropy-coded data of one scan, sequential (T.81, annex F) or progressive (annex G), into the coefficients of its components.</summary>
internal ref struct Scan(ReadOnlySpan<byte> file, int position, string name)
{
    /// <summary>Frequencies in the order of the file (T.81, figure 5).</summary>
    public static readonly byte[] ZigZag =
    [
        0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28,
        35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
    ];

    private BitReader bits = new(file, position, name);
    private int endOfBandRun;

    public required Component[] Components { get; init; }

    /// <summary>One per component; null where the scan needs none.</summary>
    public required HuffmanTable?[] Dc { get; init; }

    public required HuffmanTable?[] Ac { get; init; }

    public required bool Progressive { get; init; }

    /// <summary>First and last frequency.</summary>
    public required int From { get; init; }

    public required int To { get; init; }

    /// <summary>Bits that an earlier scan left out, and that this one leaves out.</summary>
    public required int High { get; init; }

    public required int Low { get; init; }

    /// <summary>Units between restart markers; 0 for none.</summary>
    public required int RestartInterval { get; init; }

    /// <returns>Where the file goes on.</returns>
    public int Decode()
    {
        bool single = Components.Length == 1;
        var first = Components[0];
        int across = single ? first.BlocksAcross : first.Stride / first.H, down = single ? first.BlocksDown : first.Rows / first.V;
        int restart = 0;
        foreach (var c in Components) c.Predicted = 0;
        for (int unit = 0; unit < across * down; unit++)
        {
            if (RestartInterval > 0 && unit > 0 && unit % RestartInterval == 0)
            {
                bits.Align();
                bits.SkipMarker((byte)(0xD0 + (restart++ & 7)));
                endOfBandRun = 0;
                foreach (var c in Components) c.Predicted = 0;
            }

            int row = unit / across, column = unit % across;
            if (single)
            {
                Block(0, first.Block(row, column));
                continue;
            }

            for (int i = 0; i < Components.Length; i++)
            {
                var c = Components[i];
                for (int y = 0; y < c.V; y++)
                    for (int x = 0; x < c.H; x++) Block(i, c.Block(row * c.V + y, column * c.H + x));
            }
        }

        bits.Align();
        return bits.Position;
    }

    private void Block(int index, Span<short> block)
    {
        if (!Progressive)
        {
            block[0] = Short(FirstDc(index));
            BandOf(index, block, 1, 63);
        }
        else if (From == 0)
        {
            if (High == 0) block[0] = Short(FirstDc(index) << Low);
            else if (bits.Read(1) != 0) block[0] |= (short)(1 << Low);
        }
        else if (High == 0)
        {
            BandOf(index, block, From, To);
        }
        else
        {
            Refine(index, block);
        }
    }

    private int FirstDc(int index)
    {
        int size = Dc[index]!.Read(ref bits);
        if (size > 15) throw bits.Bad($"a difference of {size} bits");
        var c = Components[index];
        return c.Predicted = Short(c.Predicted + bits.ReadSigned(size));
    }

    private void BandOf(int index, Span<short> block, int from, int to)
    {
        if (endOfBandRun > 0)
        {
            endOfBandRun--;
            return;
        }

        for (int k = from; k <= to; k++)
        {
            int symbol = Ac[index]!.Read(ref bits), run = symbol >> 4, size = symbol & 15;
            if (size == 0)
            {
                if (run < 15)
                {
                    if (run > 0 && !Progressive) throw bits.Bad("an end of several blocks in a sequential picture");
                    endOfBandRun = (1 << run) - 1 + bits.Read(run);
                    return;
                }

                k += 15;
                continue;
            }

            k += run;
            if (k > to) throw bits.Bad("a coefficient outside its block");
            block[ZigZag[k]] = Short(bits.ReadSigned(size) << Low);
        }
    }

    // One more bit for the coefficients that are not zero, and new ones between them (G.1.2.3).
    private void Refine(int index, Span<short> block)
    {
        int k = From, one = 1 << Low;
        while (endOfBandRun == 0 && k <= To)
        {
            int symbol = Ac[index]!.Read(ref bits), run = symbol >> 4, size = symbol & 15, value = 0;
            if (size == 0 && run < 15)
            {
                endOfBandRun = (1 << run) + bits.Read(run);
                break;
            }

            if (size > 1) throw bits.Bad("a coefficient of more bits than its scan adds");
            if (size == 1) value = bits.Read(1) != 0 ? one : -one;
            for (; k <= To; k++)
            {
                ref short coefficient = ref block[ZigZag[k]];
                if (coefficient != 0) Correct(ref coefficient, one);
                else if (run-- == 0) break;
            }

            if (size == 1)
            {
                if (k > To) throw bits.Bad("a coefficient outside its block");
                block[ZigZag[k]] = Short(value);
            }

            k++;
        }

        if (endOfBandRun == 0) return;
        endOfBandRun--;
        for (; k <= To; k++)
        {
            ref short coefficient = ref block[ZigZag[k]];
            if (coefficient != 0) Correct(ref coefficient, one);
        }
    }

    private void Correct(ref short coefficient, int one)
    {
        if (bits.Read(1) != 0 && (coefficient & one) == 0) coefficient = Short(coefficient > 0 ? coefficient + one : coefficient - one);
    }

    private readonly short Short(int value) => value is >= short.MinValue and <= short.MaxValue ? (short)value : throw bits.Bad($"a coefficient of {value}");
}
