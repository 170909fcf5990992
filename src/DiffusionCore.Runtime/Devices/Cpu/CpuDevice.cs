using System.Runtime.InteropServices;

namespace DiffusionCore.Runtime;

/// <summary>The host processor: hand-vectorised kernels on the engine's own workers.</summary>
public sealed unsafe class CpuDevice : Device
{
    private Peak? peak;

    /// <param name="threads">Threads in all; 0 takes every core that the process may use, at most what its control groups grant it.</param>
    /// <param name="exact">Convolutions by their own sums only, without Winograd: slower, and without its relative rounding error of 1e-6.</param>
    public CpuDevice(int threads = 0, bool exact = false)
    {
        Exact = exact;
        if (threads is < 0 or > 1024) throw new UsageException($"threads: expected 0 to 1024, found {threads}");
        Pool = new WorkerPool(threads == 0 ? CpuQuota.Threads() : threads);
    }

    public override string Name => "cpu";

    public override string Description =>
        $"{RuntimeInformation.ProcessArchitecture.ToString().ToLowerInvariant()}, {HostIsa.Active switch { Isa.Avx512 => "AVX-512", Isa.Avx2 => "AVX2", _ => "scalar code" }}, {Pool.Count} thread{(Pool.Count == 1 ? "" : "s")}";

    public int Threads => Pool.Count;

    /// <summary>Whether convolutions keep to their definition's sums.</summary>
    public bool Exact { get; }

    internal WorkerPool Pool { get; }

    public override DeviceBuffer Allocate(long bytes) => new CpuBuffer(bytes);

    public override void Upload(ReadOnlySpan<byte> src, DeviceBuffer dst) => src.CopyTo(((CpuBuffer)dst).Span<byte>());

    public override void Download(DeviceBuffer src, Span<byte> dst) => ((CpuBuffer)src).Span<byte>()[..dst.Length].CopyTo(dst);

    public override WeightStore CreateWeightStore() => new CpuWeightStore();

    public override IReadOnlyList<IImplementation> Implementations(Op op) => CpuImplementations.Of(op, this);

    public override long OccupiedBytes => Environment.WorkingSet;

    public override WeightNeeds Weights(Plan plan, WeightStore? held = null) => WeightResidency.Needs(PlacedUse.Of(plan), held is CpuWeightStore store ? store.Holds : _ => false);

    public override Executable Prepare(Plan plan, WeightStore weights, long weightBytes) => new CpuExecutable(this, plan, (CpuWeightStore)weights, weightBytes);

    public override void RunSamplerStep(in SamplerStepArguments arguments) => CpuSamplerStep.Run(Pool, arguments);

    public override Peak MeasurePeak() =>
        peak ??= new Peak(PeakMeter.FmaGflops(Pool), PeakMeter.FmaGflopsPerCore(), PeakMeter.ReadGigabytesPerSecond(Pool), PeakMeter.CopyGigabytesPerSecond(Pool));

    public override void Dispose() => Pool.Dispose();
}
