namespace DiffusionCore.Kernels.Host;

public static unsafe partial class Winograd
{
    /// <summary>How the tiles are cut and where scratch lies. No result depends on it but for <see cref="BlockChannels"/>.</summary>
    private readonly struct Split
    {
        /// <summary>Channels that are chained before the next block is added; part of the definition of a result.</summary>
        public const int BlockChannels = 32;

        public const int JobsPerWorker = 4;

        // M of a group (500 KB), U (220 KB) and V (300 KB, passing through) of a block of channels share a 1 MB L2. 64 channels: 5 to 15 % slower in place,
        // 16: 3 to 10 %; 32 tiles: 3 to 15 %, 48: 0 to 10 % (Zen 4, one worker, 2026-11-24).
        private const int MostTiles = 64;

        // Shared V beyond this would leave the L3 before it is read.
        private const long MostSharedBytes = 32 << 20;

        public readonly WinogradTile Tile;
        public readonly int TilesX, TilesY, Tiles, GroupTiles, Groups;
        public readonly bool Shared;

        /// <summary>Floats between the n*n parts of V within a block of channels; 16 more than the tiles need, for at a power of two all parts fall into the same lines of the L1.</summary>
        public readonly nint ValuePitch;

        /// <summary>Floats of V of one group.</summary>
        public readonly long GroupFloats;

        /// <summary>From the head of the scratch.</summary>
        public readonly long ValuesOffset, SharedBytes;

        /// <summary>From the head of a worker's part.</summary>
        public readonly long TemporaryOffset, RowsOffset, PadsOffset, SumsOffset, WidenedOffset, WeightsOffset, ProductsOffset, OwnValuesOffset, WorkerBytes;

        public Split(in ConvShape s, WinogradTile tile, WeightType type, int workers)
        {
            Tile = tile;
            int m = (int)tile, n = m + 2, parts = n * n;
            TilesX = (s.OutWidth + m - 1) / m;
            TilesY = (s.OutHeight + m - 1) / m;
            Tiles = checked(s.Batch * TilesX * TilesY);
            Groups = Math.Max(1, (Tiles + MostTiles - 1) / MostTiles);
            GroupTiles = Math.Max(1, (Tiles + Groups - 1) / Groups);
            if (Groups > 1) GroupTiles = (GroupTiles + 7) / 8 * 8;
            Groups = (Tiles + GroupTiles - 1) / GroupTiles;
            ValuePitch = (nint)GroupTiles * BlockChannels + 16;
            long blocks = (s.Channels + BlockChannels - 1) / BlockChannels;
            GroupFloats = blocks * parts * ValuePitch;
            Shared = Groups < JobsPerWorker * workers && Groups * GroupFloats * sizeof(float) <= MostSharedBytes || Groups == 1;

            ValuesOffset = Aligned((s.Channels + 16L) * sizeof(float));
            SharedBytes = ValuesOffset + (Shared ? Aligned(Groups * GroupFloats * sizeof(float)) : 0);
            long at = 64;
            TemporaryOffset = Take(ref at, parts * 16L * sizeof(float));
            RowsOffset = Take(ref at, (GroupTiles + (long)MicroKernel.MaximumRows) * sizeof(nint));
            PadsOffset = Take(ref at, TileEpilogue.PadFloats * sizeof(float));
            SumsOffset = Take(ref at, (long)m * m * MicroKernel.MaximumWidth * sizeof(float));
            WidenedOffset = Take(ref at, type == WeightType.F32 ? 0 : 9L * BlockChannels * MicroKernel.MaximumWidth * sizeof(float));
            WeightsOffset = Take(ref at, parts * ((long)BlockChannels * MicroKernel.MaximumWidth + 16) * sizeof(float));
            ProductsOffset = Take(ref at, parts * (long)ProductPitch(MicroKernel.MaximumWidth) * sizeof(float));
            OwnValuesOffset = Take(ref at, Shared ? 0 : GroupFloats * sizeof(float));
            WorkerBytes = at;
            Bytes = SharedBytes + workers * WorkerBytes;
        }

        public long Bytes { get; }

        // The last tile of the micro-kernel may overhang.
        public nint ProductPitch(int width) => (nint)(((long)GroupTiles + MicroKernel.MaximumRows) * width + 16);

        private static long Aligned(long bytes) => (bytes + 63) / 64 * 64;

        private static long Take(ref long at, long bytes)
        {
            long offset = at;
            at += Aligned(bytes);
            return offset;
        }
    }
}
