// Bipartite merging of tokens (Bolya and Hoffman 2023), in three kernels.
//
//   match    best[s] = first argmax_t alike[s, t];  the `count` sources of the largest best scores get map[s] = best[s], the others T, T + 1, ... in order
//   merge    y[t] = (x[t] + sum of x[T + s] over map[s] = t) / (1 + their number);  y[map[s]] = x[T + s] where map[s] >= T
//   unmerge  z[t] = y[t];  z[T + s] = y[map[s]]
//   alike: [N, S, T], map: [N, S] int, x, z: [N, T + S, C], y: [N, T + S - count, C].
//
// Work split  match: a source's row, then an image's sort; merge: 64 channels of an image; unmerge: a token.
// Numerics    match moves no number. merge adds the sources of a target in their order, target first, whatever the split.
// Roofline    memory bound: match reads the scores once (12.6 MB for 64x64 tokens), merge and unmerge read and write the tokens once.
namespace DiffusionCore.Kernels.Host;

/// <summary>Matching, merging and unmerging of tokens.</summary>
public static unsafe class TokenMerge
{
    private const int Chunk = 64;

    /// <summary>Scratch bytes of <see cref="Match"/>.</summary>
    public static long MatchScratchBytes(long images, long sources) => images * sources * (sizeof(ulong) + sizeof(int));

    public static void Match(WorkerPool pool, float* alike, int* map, byte* scratch, int images, int sources, int targets, int count)
    {
        var s = new Arguments
        {
            X = alike, Map = map, Keys = (ulong*)scratch, Best = (int*)(scratch + (long)images * sources * sizeof(ulong)), Sources = sources, Targets = targets, Count = count,
        };
        switch (pool.Isa)
        {
            case Isa.Avx512: pool.For(images * sources, &Score<Simd16Avx512>, &s); break;
            case Isa.Avx2: pool.For(images * sources, &Score<Simd16Avx2>, &s); break;
            default: pool.For(images * sources, &Score<Simd16Scalar>, &s); break;
        }

        pool.For(images, &Choose, &s);
    }

    /// <param name="counts">[images, targets] ints of scratch.</param>
    public static void Merge(WorkerPool pool, float* x, int* map, float* y, int* counts, int images, int sources, int targets, int count, int channels)
    {
        var s = new Arguments { X = x, Y = y, Map = map, Best = counts, Sources = sources, Targets = targets, Count = count, Channels = channels, Chunks = (channels + Chunk - 1) / Chunk };
        new Span<int>(counts, images * targets).Fill(1);
        for (int n = 0; n < images; n++)
        {
            for (int i = 0; i < sources; i++)
            {
                int to = map[(long)n * sources + i];
                if (to < targets) counts[n * targets + to]++;
            }
        }

        pool.For(images * s.Chunks, &MergeChunk, &s);
    }

    public static void Unmerge(WorkerPool pool, float* x, int* map, float* y, int images, int sources, int targets, int rows, int channels)
    {
        var s = new Arguments { X = x, Y = y, Map = map, Sources = sources, Targets = targets, Count = rows, Channels = channels };
        pool.For(images * (targets + sources), &UnmergeRow, &s);
    }

    private struct Arguments
    {
        public float* X, Y;
        public int* Map, Best;
        public ulong* Keys;
        public int Sources, Targets, Count, Channels, Chunks;
    }

    // The largest score first, of equal ones the first source: one number that sorts so.
    private static void Score<V>(void* state, int item, int worker)
        where V : unmanaged, ISimd16<V>
    {
        var s = (Arguments*)state;
        float* row = s->X + (long)item * s->Targets;
        float best = row[0];
        int t = 0;
        if (s->Targets >= 16)
        {
            V lanes = V.Load(row);
            for (t = 16; t + 16 <= s->Targets; t += 16) lanes = V.Max(lanes, V.Load(row + t));
            best = V.ReduceMax(lanes);
        }

        for (; t < s->Targets; t++)
            if (row[t] > best) best = row[t];
        int at = new ReadOnlySpan<float>(row, s->Targets).IndexOf(best);
        s->Best[item] = Math.Max(at, 0);
        uint bits = BitConverter.SingleToUInt32Bits(best == 0 ? 0 : best);          // both zeros are one score
        uint rising = (bits & 0x80000000) != 0 ? ~bits : bits | 0x80000000;
        s->Keys[item] = ((ulong)~rising << 32) | (uint)(item % s->Sources);
    }

    private static void Choose(void* state, int image, int worker)
    {
        var s = (Arguments*)state;
        long first = (long)image * s->Sources;
        var keys = new Span<ulong>(s->Keys + first, s->Sources);
        keys.Sort();
        int* map = s->Map + first;
        new Span<int>(map, s->Sources).Fill(-1);
        for (int i = 0; i < s->Count; i++)
        {
            int source = (int)(uint)keys[i];
            map[source] = s->Best[first + source];
        }

        int free = s->Targets;
        for (int i = 0; i < s->Sources; i++)
            if (map[i] < 0) map[i] = free++;
    }

    private static void MergeChunk(void* state, int item, int worker)
    {
        var s = (Arguments*)state;
        int image = item / s->Chunks, c0 = item % s->Chunks * Chunk, width = Math.Min(Chunk, s->Channels - c0), c = s->Channels;
        float* x = s->X + (long)image * (s->Targets + s->Sources) * c + c0;
        float* y = s->Y + (long)image * (s->Targets + s->Sources - s->Count) * c + c0;
        int* map = s->Map + (long)image * s->Sources, counts = s->Best + (long)image * s->Targets;
        for (int t = 0; t < s->Targets; t++) Copy(x + (long)t * c, y + (long)t * c, width);
        for (int i = 0; i < s->Sources; i++)
        {
            float* from = x + (long)(s->Targets + i) * c, to = y + (long)map[i] * c;
            if (map[i] >= s->Targets) Copy(from, to, width);
            else for (int k = 0; k < width; k++) to[k] += from[k];
        }

        for (int t = 0; t < s->Targets; t++)
        {
            if (counts[t] == 1) continue;
            float* to = y + (long)t * c;
            for (int k = 0; k < width; k++) to[k] /= counts[t];
        }
    }

    // Count holds the rows of x here.
    private static void UnmergeRow(void* state, int item, int worker)
    {
        var s = (Arguments*)state;
        int all = s->Targets + s->Sources, image = item / all, row = item % all;
        int from = row < s->Targets ? row : s->Map[(long)image * s->Sources + row - s->Targets];
        Copy(s->X + ((long)image * s->Count + from) * s->Channels, s->Y + (long)item * s->Channels, s->Channels);
    }

    private static void Copy(float* from, float* to, int count) => new ReadOnlySpan<float>(from, count).CopyTo(new Span<float>(to, count));
}
