// 3x3 convolution by Winograd's minimal filtering, channels last, weights transformed in cache where they are used.
//
//   V[e][tile][c] = B^T d B,  U[e][c][o] = G g G^T,  M[e][tile][o] = sum over c of V U,  y = epilogue(A^T M A),  e < n*n   (WinogradTiles.cs)
//   x: [N, H, W, C] with a pitch, C a multiple of 16; y: [N, OH, OW, O] with a pitch. Stride and dilation 1, any border. x may be
//   a map to be enlarged: pixels are then read several times, and the large map is never stored.
//
// Work split  (group of up to 64 tiles, panel of outputs). A job transforms the weights of its panel, 32 channels at a time, into 220 KB of its own,
//             multiplies them with the group's V, and turns the sums into results through the epilogue of every product here. Few groups: V is made
//             first, for all tiles, by all workers, and then shared. Many groups: a job is a group with all panels and makes V for itself.
// Weights     stay in the canonical packed form, in the stored type. Transforming 16 tap sets takes 125 cycles against 36 per tile of products: 5 % of the
//             work at 64 tiles, 18 % at the 16 tiles of a 16x16 map, half of it at 8x8. The next block's taps are prefetched while products run.
// Numerics    blocks of 32 channels, each one chain of FMA, added in order: part of the definition of a result, as are the transforms. Independent
//             of threads, batch, instruction set and every split. Errors: WinogradTiles.cs.
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;

namespace DiffusionCore.Kernels.Host;

/// <summary>Size of a Winograd tile's output: 2x2 or 4x4.</summary>
public enum WinogradTile
{
    F2 = 2,
    F4 = 4,
}

/// <summary>3x3 convolution with fewer multiplications than its definition has.</summary>
public static unsafe partial class Winograd
{
    /// <summary>Null where this kernel takes the shape, else why not.</summary>
    public static string? Declines(in ConvShape s) =>
        s.KernelH != 3 || s.KernelW != 3 ? "not 3x3"
        : s.StrideH != 1 || s.StrideW != 1 ? "strided"
        : s.DilationH != 1 || s.DilationW != 1 ? "dilated"
        : s.Channels % 16 != 0 ? "channels not a multiple of 16"
        : s.OutHeight < 1 || s.OutWidth < 1 ? "kernel larger than the padded map" : null;

    /// <summary>Scratch in bytes for any call of this shape.</summary>
    public static long ScratchBytes(in ConvShape s, WinogradTile tile, WeightType type, int workers) => new Split(s, tile, type, workers).Bytes;

    /// <param name="packed">W: [O, C, 9], from <see cref="PackedWeights"/>.</param>
    /// <param name="scratch"><see cref="ScratchBytes"/> bytes, aligned to 64.</param>
    public static void Run(
        WorkerPool pool, in ConvShape s, WinogradTile tile, float* x, long ldx, void* packed, WeightType type, float* y, long ldy, in Epilogue epilogue, void* scratch) =>
        Run(HostIsa.Active, pool, s, tile, x, ldx, packed, type, y, ldy, epilogue, scratch);

    internal static void Run(
        Isa isa, WorkerPool pool, in ConvShape s, WinogradTile tile, float* x, long ldx, void* packed, WeightType type, float* y, long ldy, in Epilogue epilogue, void* scratch)
    {
        if (s.Batch <= 0 || s.Outputs <= 0) return;
        var a = new Arguments
        {
            Isa = isa, Shape = s, Split = new Split(s, tile, type, pool.Count), X = x, Y = y, LdX = ldx, LdY = ldy, Packed = (byte*)packed, Type = type, Epilogue = epilogue,
            Scratch = (byte*)scratch, Panels = PackedWeights.Panels(MicroKernel.WidthOf(isa), s.Outputs),
        };
        new Span<float>(scratch, s.Channels).Clear();       // pixels outside the map
        for (int worker = 0; worker < pool.Count; worker++) *a.Group(worker) = -1;
        switch (isa)
        {
            case Isa.Avx512: Launch<Simd16Avx512>(pool, &a); break;
            case Isa.Avx2: Launch<Simd16Avx2>(pool, &a); break;
            default: Launch<Simd16Scalar>(pool, &a); break;
        }
    }

    private static void Launch<V>(WorkerPool pool, Arguments* a)
        where V : unmanaged, ISimd16<V>
    {
        if (a->Split.Tile == WinogradTile.F4) Launch<V, WinogradF4>(pool, a);
        else Launch<V, WinogradF2>(pool, a);
    }

    private static void Launch<V, TTile>(WorkerPool pool, Arguments* a)
        where V : unmanaged, ISimd16<V>
        where TTile : struct, IWinogradTile
    {
        ref readonly var p = ref a->Split;
        if (p.Shared)
        {
            pool.For(p.Tiles, &InputItem<V, TTile>, a);
            a->PanelsPerJob = 1;
        }
        else
        {
            int ranges = Math.Min(a->Panels, Math.Max(1, (Split.JobsPerWorker * pool.Count + p.Groups - 1) / p.Groups));
            a->PanelsPerJob = (a->Panels + ranges - 1) / ranges;
        }

        a->Ranges = (a->Panels + a->PanelsPerJob - 1) / a->PanelsPerJob;
        pool.For(p.Groups * a->Ranges, &ProductItem<V, TTile>, a);
    }

    private struct Arguments
    {
        public Isa Isa;
        public ConvShape Shape;
        public Split Split;
        public float* X, Y;
        public long LdX, LdY;
        public byte* Packed, Scratch;
        public WeightType Type;
        public int Panels, PanelsPerJob, Ranges;
        public Epilogue Epilogue;

        public readonly byte* Own(int worker) => Scratch + Split.SharedBytes + worker * Split.WorkerBytes;

        /// <summary>The group whose V a worker holds.</summary>
        public readonly int* Group(int worker) => (int*)Own(worker);
    }

    // One tile of one image into V of its group, all channels.
    private static void InputItem<V, TTile>(void* state, int item, int worker)
        where V : unmanaged, ISimd16<V>
        where TTile : struct, IWinogradTile
    {
        var a = (Arguments*)state;
        ref readonly var p = ref a->Split;
        float* v = (float*)(a->Scratch + p.ValuesOffset) + (long)(item / p.GroupTiles) * p.GroupFloats;
        InputTile<V, TTile>(*a, item, item % p.GroupTiles, v, (float*)(a->Own(worker) + p.TemporaryOffset));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void InputTile<V, TTile>(in Arguments a, int tile, int row, float* v, float* temporary)
        where V : unmanaged, ISimd16<V>
        where TTile : struct, IWinogradTile
    {
        ref readonly var p = ref a.Split;
        ref readonly var s = ref a.Shape;
        int n = TTile.Inputs, image = tile / (p.TilesY * p.TilesX), top = tile / p.TilesX % p.TilesY * TTile.Outputs - s.PadTop, left = tile % p.TilesX * TTile.Outputs - s.PadLeft;
        int factor = s.Factor, height = s.Height / factor, width = s.Width / factor;
        float** pixels = stackalloc float*[36];
        for (int i = 0; i < n; i++)
        {
            for (int j = 0; j < n; j++)
            {
                bool inside = (uint)(top + i) < (uint)s.Height && (uint)(left + j) < (uint)s.Width;
                pixels[i * n + j] = inside ? a.X + (((long)image * height + (top + i) / factor) * width + (left + j) / factor) * a.LdX : (float*)a.Scratch;
            }
        }

        // The columns that the next tile adds: 36 short streams are more than the hardware follows.
        bool ahead = Sse.IsSupported && tile % p.TilesX + 1 < p.TilesX;
        v += (long)row * Split.BlockChannels;
        for (int c = 0; c < s.Channels; c += Split.BlockChannels, v += n * n * p.ValuePitch)
        {
            int count = Math.Min(Split.BlockChannels, s.Channels - c);
            for (int k = 0; k < count; k += 16)
            {
                if (ahead) PrefetchPixels(pixels, n, TTile.Outputs, TTile.Outputs / factor * a.LdX + c + k);
                TTile.Input<V>(pixels, c + k, v + k, p.ValuePitch, temporary);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void PrefetchPixels(float** pixels, int n, int m, long offset)
    {
        for (int i = 0; i < n; i++, pixels += n)
            for (int j = n - m; j < n; j++) Sse.Prefetch0(pixels[j] + offset);
    }

    private static void ProductItem<V, TTile>(void* state, int item, int worker)
        where V : unmanaged, ISimd16<V>
        where TTile : struct, IWinogradTile
    {
        var a = (Arguments*)state;
        ref readonly var p = ref a->Split;
        // Panels outermost where V is shared: the panels that are read from memory meet all their groups while they are in cache.
        int group = p.Shared ? item % p.Groups : item / a->Ranges, range = p.Shared ? item / p.Groups : item % a->Ranges;
        int first = group * p.GroupTiles, count = Math.Min(p.GroupTiles, p.Tiles - first);
        byte* own = a->Own(worker);
        float* temporary = (float*)(own + p.TemporaryOffset);
        float* v = (float*)(a->Scratch + p.ValuesOffset) + (long)group * p.GroupFloats;
        if (!p.Shared)
        {
            v = (float*)(own + p.OwnValuesOffset);
            if (*a->Group(worker) != group)
                for (int t = 0; t < count; t++) InputTile<V, TTile>(*a, first + t, t, v, temporary);
            *a->Group(worker) = group;
        }

        int last = Math.Min(a->Panels, (range + 1) * a->PanelsPerJob);
        for (int panel = range * a->PanelsPerJob; panel < last; panel++)
        {
            Products<V, TTile>(*a, panel, count, v, own, temporary);
            Results<V, TTile>(*a, panel, first, count, own, temporary);
        }
    }

    // M of one panel and group.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Products<V, TTile>(in Arguments a, int panel, int tiles, float* v, byte* own, float* temporary)
        where V : unmanaged, ISimd16<V>
        where TTile : struct, IWinogradTile
    {
        ref readonly var p = ref a.Split;
        int parts = TTile.Inputs * TTile.Inputs, channels = a.Shape.Channels, panelWidth = MicroKernel.WidthOf(a.Isa);
        int width = PackedWeights.Width(panelWidth, a.Shape.Outputs, panel), size = PackedWeights.Size(a.Type);
        byte* packed = a.Packed + PackedWeights.Offset(panelWidth, panel, channels, 9) * size;
        float* u = (float*)(own + p.WeightsOffset), widened = (float*)(own + p.WidenedOffset), m = (float*)(own + p.ProductsOffset);
        var rows = (float**)(own + p.RowsOffset);
        nint weightPitch = (nint)Split.BlockChannels * width + 16, productPitch = p.ProductPitch(width);
        for (int t = 0; t < tiles + MicroKernel.MaximumRows; t++) rows[t] = v + (long)Math.Min(t, tiles - 1) * Split.BlockChannels;

        int steps = parts / 9;
        long tapBytes = (long)channels * width * size;
        for (int c0 = 0, block = 0; c0 < channels; c0 += Split.BlockChannels, block++)
        {
            int count = Math.Min(Split.BlockChannels, channels - c0), floats = count * width;
            float* taps = (float*)packed + (long)c0 * width;
            nint tapPitch = (nint)channels * width;
            if (a.Type != WeightType.F32)
            {
                for (int t = 0; t < 9; t++) PackedWeights.Widen(a.Isa, packed + (((long)t * channels + c0) * width * 2), a.Type, widened + (long)t * floats, floats);
                taps = widened;
                tapPitch = floats;
            }

            for (int i = 0; i < floats; i += 16) TTile.Weights<V>(taps + i, tapPitch, u + i, weightPitch, temporary);
            int ahead = Math.Min(Split.BlockChannels, channels - c0 - count), nextLines = ahead * width * size / 64;
            byte* next = packed + ((long)c0 + count) * width * size;
            for (int e = 0; e < parts; e++)
            {
                if (e < 9 * steps) PrefetchLines(next + e / steps * tapBytes, nextLines * (e % steps) / steps, nextLines * (e % steps + 1) / steps);
                MicroKernel.RunTiles(
                    a.Isa, width, rows, tiles, ((nint)block * parts + e) * p.ValuePitch, count, u + e * weightPitch, m + e * productPitch, c0 > 0);
            }
        }
    }

    // What the next products need, on its way to L2.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void PrefetchLines(byte* p, int from, int to)
    {
        if (!Sse.IsSupported) return;
        for (int i = from; i < to; i++) Sse.Prefetch1(p + i * 64L);
    }

    // The lines that the epilogue will touch, on their way while the tile is transformed.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void PrefetchResults(in Arguments a, long pixel, int side, int first, int n)
    {
        for (int i = 0; i < side; i++, pixel += a.Shape.OutWidth)
        {
            for (int j = 0; j < side; j++)
            {
                float* y = a.Y + (pixel + j) * a.LdY + first;
                for (int k = 0; k < n; k += 16) Sse.Prefetch0(y + k);
                if (a.Epilogue.Residual == null) continue;
                float* residual = a.Epilogue.Residual + (pixel + j) * a.Epilogue.ResidualPitch + first;
                for (int k = 0; k < n; k += 16) Sse.Prefetch0(residual + k);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Results<V, TTile>(in Arguments a, int panel, int firstTile, int tiles, byte* own, float* temporary)
        where V : unmanaged, ISimd16<V>
        where TTile : struct, IWinogradTile
    {
        ref readonly var p = ref a.Split;
        ref readonly var s = ref a.Shape;
        int panelWidth = MicroKernel.WidthOf(a.Isa), width = PackedWeights.Width(panelWidth, s.Outputs, panel), first = panel * panelWidth, n = Math.Min(width, s.Outputs - first);
        int height = s.OutHeight, columns = s.OutWidth, side = TTile.Outputs;
        float* m = (float*)(own + p.ProductsOffset), sums = (float*)(own + p.SumsOffset), pads = (float*)(own + p.PadsOffset), bias = null;
        nint productPitch = p.ProductPitch(width);
        long* pixels = stackalloc long[4];
        if (a.Epilogue.Bias != null)
        {
            bias = pads;
            TileEpilogue.Pad(a.Epilogue.Bias + first, n, width, bias);
        }

        for (int t = 0; t < tiles; t++)
        {
            int tile = firstTile + t, image = tile / (p.TilesY * p.TilesX), top = tile / p.TilesX % p.TilesY * side, left = tile % p.TilesX * side;
            if (Sse.IsSupported) PrefetchResults(a, ((long)image * height + top) * columns + left, side, first, n);
            for (int j = 0; j < width; j += 16) TTile.Output<V>(m + (long)t * width + j, productPitch, sums + j, width, temporary);
            int valid = Math.Min(side, columns - left);
            for (int i = 0; i < side && top + i < height; i++)
            {
                long pixel = ((long)image * height + top + i) * columns + left;
                for (int j = 0; j < valid; j++) pixels[j] = pixel + j;
                TileEpilogue.Store<V>(a.Epilogue, sums + i * side * width, width, valid, a.Y, a.LdY, pixels, height * columns, first, n, bias, pads + MicroKernel.MaximumWidth);
            }
        }
    }
}
