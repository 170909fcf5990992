namespace DiffusionCore.Runtime;

/// <summary>Memory of a device.</summary>
public abstract class DeviceBuffer : IDisposable
{
    public abstract long Bytes { get; }

    public abstract void Dispose();
}

/// <summary>Measured limits of a device: what a roofline is drawn from.</summary>
/// <param name="Gflops">Fused multiply-adds, single precision, all threads, in GFLOP/s.</param>
/// <param name="GflopsPerCore">The same on one thread alone.</param>
/// <param name="ReadGigabytesPerSecond">Reading more than the caches hold.</param>
/// <param name="CopyGigabytesPerSecond">Copying more than the caches hold; bytes read plus bytes written.</param>
public sealed record Peak(double Gflops, double GflopsPerCore, double ReadGigabytesPerSecond, double CopyGigabytesPerSecond);

/// <summary>Weights on a device, each in the forms that its readers need; shared by every plan of a model.</summary>
public abstract class WeightStore : IDisposable
{
    /// <summary>Bytes held now.</summary>
    public abstract long Bytes { get; }

    public abstract void Dispose();
}

/// <summary>What a plan's weights take on a device.</summary>
/// <param name="All">Bytes with every weight in memory.</param>
/// <param name="Least">Bytes with as little as possible in memory and the rest read from files at every run; <paramref name="All"/> where the device does not do that.</param>
public readonly record struct WeightNeeds(long All, long Least);

/// <summary>Where plans are prepared and run.</summary>
public abstract class Device : IDisposable
{
    /// <summary>The name that selects it: cpu, cuda:0, opencl:0, ilgpu-cpu.</summary>
    public abstract string Name { get; }

    /// <summary>What it is, for people.</summary>
    public abstract string Description { get; }

    /// <summary>Bytes that it may hold in all: what a plan is checked against before anything runs.</summary>
    public virtual long MemoryBytes => GC.GetGCMemoryInfo().TotalAvailableMemoryBytes;

    /// <summary>Of <see cref="MemoryBytes"/>, what this process takes now; 0 where a device does not know.</summary>
    public virtual long OccupiedBytes => 0;

    /// <exception cref="MemoryException">There is not that much.</exception>
    public abstract DeviceBuffer Allocate(long bytes);

    public abstract void Upload(ReadOnlySpan<byte> src, DeviceBuffer dst);

    public abstract void Download(DeviceBuffer src, Span<byte> dst);

    public abstract WeightStore CreateWeightStore();

    /// <summary>Implementations of an operation, best first.</summary>
    public abstract IReadOnlyList<IImplementation> Implementations(Op op);

    /// <summary>Fuses a graph, picks implementations and places buffers; allocates nothing on the device.</summary>
    public Plan Plan(Graph graph, bool fuse = true) => Runtime.Plan.Build(graph, Implementations, fuse);

    /// <summary>Bytes of the weights that a plan reads, in the forms that its steps read them in.</summary>
    /// <param name="held">A store whose weights stay there; null for none.</param>
    public virtual WeightNeeds Weights(Plan plan, WeightStore? held = null)
    {
        long all = plan.Graph.Nodes.Where(n => n.Op is WeightOp).Sum(n => n.Type.Shape.Count * sizeof(float));
        return new WeightNeeds(all, all);
    }

    /// <summary>Allocates the arenas, brings the weights into the forms needed and runs the load-rate steps.</summary>
    public Executable Prepare(Plan plan, WeightStore weights) => Prepare(plan, weights, long.MaxValue);

    /// <summary>As <see cref="Prepare(Plan, WeightStore)"/>, with a bound on what the plan's weights take. What does not fit is read from its file at every run.</summary>
    /// <param name="weightBytes">At least <see cref="WeightNeeds.Least"/>.</param>
    /// <exception cref="MemoryException">It is less.</exception>
    public abstract Executable Prepare(Plan plan, WeightStore weights, long weightBytes);

    /// <summary>One sampler update over a whole batch of latents, in one pass.</summary>
    public abstract void RunSamplerStep(in SamplerStepArguments arguments);

    /// <summary>Waits until everything asked of the device is done: runs may return before that. A download waits by itself.</summary>
    public virtual void Synchronize()
    {
    }

    /// <summary>Measures the roofs; takes about a second. The result is kept.</summary>
    public abstract Peak MeasurePeak();

    public abstract void Dispose();
}

/// <summary>A plan with memory.</summary>
public abstract class Executable(Plan plan) : IDisposable
{
    public Plan Plan { get; } = plan;

    /// <summary>Bytes of the arenas as allocated; equals <see cref="Plan.ArenaBytes"/>.</summary>
    public abstract long AllocatedBytes { get; }

    /// <summary>Bytes of weights that are read from their files whenever a run needs them; 0 where all are in memory.</summary>
    public virtual long StreamedBytes => 0;

    /// <summary>Memory that streamed weights pass through.</summary>
    public virtual long StreamBufferBytes => 0;

    /// <summary>Gives an input its memory; it stays bound until bound anew. The buffer holds the declared type, row-major.</summary>
    public abstract void Bind(string input, DeviceBuffer buffer);

    /// <summary>Runs the steps of one rate. Request-rate steps must run before step-rate steps see what they compute.</summary>
    public abstract void Run(Rate rate);

    /// <summary>As <see cref="Run"/>, adding each step's seconds to <paramref name="seconds"/>.</summary>
    public abstract void RunTimed(Rate rate, Span<double> seconds);

    /// <summary>The memory of a named output; valid as long as this object, rewritten by each run.</summary>
    public abstract DeviceBuffer Output(string name);

    public abstract void Dispose();
}
