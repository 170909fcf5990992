namespace DiffusionCore.Text;

/// <summary>
/// The visible character that stands for a byte in byte-level vocabularies (Radford et al. 2019): bytes that are printable in Latin-1 stand
/// for themselves, the other 68 take 256, 257, ... in their order, so that no file of a vocabulary holds a space or a control character.
/// </summary>
public static class ByteSymbols
{
    private static readonly char[] Symbols = Make();

    public static char Of(byte b) => Symbols[b];

    /// <summary>The byte of a symbol; -1 where the character is none.</summary>
    public static int ByteOf(char symbol) => Symbols.AsSpan().IndexOf(symbol);

    /// <summary>All bytes in the order that CLIP's vocabulary lists them: first those that stand for themselves.</summary>
    public static IEnumerable<byte> InOrder => Enumerable.Range(0, 256).OrderBy(b => Symbols[b] >= 256).ThenBy(b => b).Select(b => (byte)b);

    private static char[] Make()
    {
        var symbols = new char[256];
        int other = 256;
        for (int b = 0; b < 256; b++) symbols[b] = (char)(b is >= 33 and <= 126 or >= 161 and <= 172 or >= 174 ? b : other++);
        return symbols;
    }
}
