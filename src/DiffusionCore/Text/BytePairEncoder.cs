using System.Text;

namespace DiffusionCore.Text;

/// <summary>
/// Byte pair encoding of one word (Sennrich et al. 2016), as CLIP does it: UTF-8 bytes, the last one marked as the end of the word;
/// then the pair of neighbours that was learned first is merged wherever it stands, from the left, until no learned pair is left.
/// </summary>
/// <remarks>
/// The candidates wait in a heap, so a word of n bytes costs O(n log n): a "word" of a million characters ends too.
/// All places of a pair are merged before the next pair is chosen, also where a damaged file ranks a pair before its own parts.
/// </remarks>
public sealed class BytePairEncoder
{
    private const string EndOfWord = "</w>";

    private readonly Dictionary<long, (int Rank, int Symbol)> merges;
    private readonly int[] inside = new int[256];
    private readonly int[] last = new int[256];
    private readonly List<int> ids = [];

    /// <param name="vocabulary">Token to id.</param>
    /// <param name="pairs">In the order in which they were learned.</param>
    /// <param name="unknown">The id of what the vocabulary lacks.</param>
    public BytePairEncoder(IReadOnlyDictionary<string, int> vocabulary, IReadOnlyList<(string Left, string Right)> pairs, int unknown)
    {
        var symbols = new Dictionary<string, int>(vocabulary.Count, StringComparer.Ordinal);
        for (int b = 0; b < 256; b++)
        {
            string symbol = ByteSymbols.Of((byte)b).ToString();
            inside[b] = Symbol(symbol);
            last[b] = Symbol(symbol + EndOfWord);
        }

        merges = new Dictionary<long, (int, int)>(pairs.Count);
        for (int rank = 0; rank < pairs.Count; rank++)
        {
            var (left, right) = pairs[rank];
            merges.TryAdd(Pair(Symbol(left), Symbol(right)), (rank, Symbol(left + right)));
        }

        int Symbol(string text)
        {
            if (symbols.TryGetValue(text, out int known)) return known;
            symbols.Add(text, ids.Count);
            ids.Add(vocabulary.GetValueOrDefault(text, unknown));
            return ids.Count - 1;
        }
    }

    /// <summary>Appends the ids of a word; <paramref name="word"/> holds no lone surrogate.</summary>
    public void Encode(ReadOnlySpan<char> word, List<int> into)
    {
        var bytes = new byte[Encoding.UTF8.GetByteCount(word)];
        Encoding.UTF8.GetBytes(word, bytes);
        if (bytes.Length == 0) return;
        int n = bytes.Length;
        int[] symbol = new int[n], next = new int[n], previous = new int[n];
        for (int i = 0; i < n; i++) (symbol[i], next[i], previous[i]) = (i == n - 1 ? last[bytes[i]] : inside[bytes[i]], i + 1, i - 1);

        var candidates = new PriorityQueue<int, long>();
        for (int i = 0; i + 1 < n; i++) Offer(i);
        var places = new List<int>();
        while (candidates.TryPeek(out _, out long first))
        {
            int rank = (int)(first >> 32);
            places.Clear();
            while (candidates.TryPeek(out int place, out long priority) && (int)(priority >> 32) == rank)
            {
                candidates.Dequeue();
                places.Add(place);
            }

            foreach (int place in places)
            {
                // What was offered may be gone by now: merged into its neighbour, or with another neighbour.
                if (!Find(place, out var merge) || merge.Rank != rank) continue;
                int gone = next[place];
                (symbol[place], symbol[gone], next[place]) = (merge.Symbol, -1, next[gone]);
                if (next[place] < n) previous[next[place]] = place;
                Offer(place);
                if (previous[place] >= 0) Offer(previous[place]);
            }
        }

        for (int i = 0; i < n; i = next[i]) into.Add(ids[symbol[i]]);

        bool Find(int place, out (int Rank, int Symbol) merge)
        {
            merge = default;
            return symbol[place] >= 0 && next[place] < n && merges.TryGetValue(Pair(symbol[place], symbol[next[place]]), out merge);
        }

        void Offer(int place)
        {
            if (Find(place, out var merge)) candidates.Enqueue(place, (long)merge.Rank << 32 | (uint)place);
        }
    }

    private static long Pair(int left, int right) => (long)left << 32 | (uint)right;
}
