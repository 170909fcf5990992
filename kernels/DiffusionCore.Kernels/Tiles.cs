// Every tile choice of the portable kernels, in one place.
//
//   Threads        128   threads of a group, also of a reduction; devices that allow fewer (ILGPU's CPU accelerator: 16) get their maximum.
//                        Shared arrays have this length whatever the launch, so a launch may only be smaller, and a power of two.
//   ProductRows    4     rows (pixels) and columns (output channels) of a product that one thread keeps in registers: 16 sums. Each weight
//   ProductColumns 4     read serves four rows and each activation four columns.
//   PeakSums       8     chains of multiply-adds of the arithmetic roof, so that their latency is hidden.
//   PeakRun        64    the same for a CPU behind OpenCL: four vectors of 16.
//
// Chosen for correctness on every device; measured on none but PoCL's CPU device.
namespace DiffusionCore.Kernels;

public static class Tiles
{
    public const int Threads = 128;
    public const int ProductRows = 4;
    public const int ProductColumns = 4;
    public const int PeakSums = 8;
    public const int PeakRun = 64;

    /// <summary>Groups that cover <paramref name="items"/>.</summary>
    public static int Groups(long items, int threads) => checked((int)((items + threads - 1) / threads));

    /// <summary>Columns of a packed weight: outputs, rounded up to whole tiles.</summary>
    public static long PackedColumns(long outputs) => (outputs + ProductColumns - 1) / ProductColumns * ProductColumns;
}
