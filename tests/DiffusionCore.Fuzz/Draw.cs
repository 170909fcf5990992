namespace DiffusionCore.Fuzz;

/// <summary>Random numbers of one execution (SplitMix64, Steele et al. 2014): the same seed and execution give the same input on every machine.</summary>
public sealed class Draw(ulong seed, long execution)
{
    private ulong state = Mix(seed) ^ Mix(unchecked((ulong)execution + 0x632BE59BD9B4E019ul));

    public ulong Bits()
    {
        state = unchecked(state + 0x9E3779B97F4A7C15ul);
        return Mix(state);
    }

    /// <summary>A number from 0 to <paramref name="count"/> - 1; 0 where there is none.</summary>
    public int Below(int count) => count <= 1 ? 0 : (int)(Bits() % (ulong)count);

    public int Between(int first, int last) => first + Below(last - first + 1);

    public bool OneIn(int n) => Below(n) == 0;

    public T Of<T>(IReadOnlyList<T> items) => items[Below(items.Count)];

    public byte[] Bytes(int count)
    {
        var bytes = new byte[count];
        for (int i = 0; i < count; i++) bytes[i] = (byte)Bits();
        return bytes;
    }

    private static ulong Mix(ulong z)
    {
        unchecked
        {
            z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ul;
            z = (z ^ (z >> 27)) * 0x94D049BB133111EBul;
            return z ^ (z >> 31);
        }
    }
}
