using System.Diagnostics;
using System.Reflection;
using System.Text.RegularExpressions;
using DiffusionCore.Kernels;
using ILGPU;
using ILGPU.Algorithms;
using ILGPU.Backends.EntryPoints;
using ILGPU.Backends.PTX;
using ILGPU.Runtime.Cuda;

namespace DiffusionCore.Gpu.Tests;

/// <summary>
/// Every kernel is compiled for NVIDIA's architectures without a GPU, and assembled by NVIDIA's own assembler, which DCORE_PTXAS names. What the
/// assembler refuses, or what would run slowly by accident, fails here.
/// </summary>
public partial class PtxTests
{
    private const string Variable = "DCORE_PTXAS";
    private const BindingFlags Static = BindingFlags.Public | BindingFlags.Static;

    // The newest that the assembler of CUDA 11.8 knows.
    private static readonly CudaInstructionSet InstructionSet = CudaInstructionSet.ISA_78;

    private static readonly Dictionary<string, MethodInfo> Kernels = Find();

    public static TheoryData<string, string> KernelsAndArchitectures()
    {
        var data = new TheoryData<string, string>();
        foreach (string kernel in Kernels.Keys)
            foreach (string architecture in (string[])["sm_80", "sm_90"]) data.Add(kernel, architecture);
        return data;
    }

    public static TheoryData<string> Names() => [.. Kernels.Keys];

    [PtxasTheory]
    [MemberData(nameof(KernelsAndArchitectures))]
    public void A_kernel_assembles_without_spills(string kernel, string architecture)
    {
        string ptx = Compile(Kernels[kernel], architecture);
        string file = Path.GetTempFileName();
        try
        {
            File.WriteAllText(file, ptx);
            var (exit, output) = Assemble(file, architecture);
            Assert.True(exit == 0, $"ptxas: {output}");
            var spills = SpillPattern().Matches(output);
            Assert.True(spills.Count > 0, $"ptxas says nothing about spills: {output}");
            Assert.All(spills, m => Assert.True(m.Groups[1].Value == "0" && m.Groups[2].Value == "0", $"{m.Value}: {output}"));
        }
        finally
        {
            File.Delete(file);
        }
    }

    /// <summary>Needs no assembler: the text itself has no function that nobody defines, and no double where a kernel is of floats.</summary>
    [Theory]
    [MemberData(nameof(Names))]
    public void A_kernel_is_of_floats_and_whole(string kernel)
    {
        string ptx = Compile(Kernels[kernel], "sm_80");
        Assert.Contains(".entry", ptx);
        Assert.DoesNotContain(".extern .func", ptx);
        Assert.DoesNotContain(".f64", ptx);
    }

    [Fact]
    public void Every_kernel_that_the_devices_load_is_marked()
    {
        // The delegates of KernelSet take a launch configuration and then the kernel's own parameters.
        var loaded = typeof(KernelSet).GetProperties().Select(p => p.Name).Concat(typeof(KernelSet).GetMethods(BindingFlags.Public | BindingFlags.Instance | BindingFlags.DeclaredOnly).Where(m => m.IsGenericMethod).Select(m => m.Name)).ToArray();
        int marked = typeof(Tiles).Assembly.GetTypes().SelectMany(t => t.GetMethods(Static)).Count(m => m.GetCustomAttribute<GpuKernelAttribute>() is not null);
        Assert.Equal(loaded.Length, marked);
    }

    private static Dictionary<string, MethodInfo> Find()
    {
        var found = new Dictionary<string, MethodInfo>(StringComparer.Ordinal);
        foreach (var method in typeof(Tiles).Assembly.GetTypes().SelectMany(t => t.GetMethods(Static)))
        {
            if (method.GetCustomAttribute<GpuKernelAttribute>() is not { } mark) continue;
            string name = $"{method.DeclaringType!.Name}.{method.Name}";
            if (mark.Elements.Count == 0) found.Add(name, method);
            else foreach (var element in mark.Elements) found.Add($"{name}<{element.Name}>", method.MakeGenericMethod(element));
        }

        return found;
    }

    // A context of its own: one that failed to compile something can fail at everything after.
    private static string Compile(MethodInfo kernel, string architecture)
    {
        var target = architecture == "sm_80" ? CudaArchitecture.SM_80 : CudaArchitecture.SM_90;
        using var context = Context.Create(b => b.EnableAlgorithms().Optimize(OptimizationLevel.O2).Math(MathMode.Default));
        using var backend = new PTXBackend(context, new CudaCapabilityContext(target), target, InstructionSet, null);
        return ((PTXCompiledKernel)backend.Compile(EntryPointDescription.FromExplicitlyGroupedKernel(kernel), default)).PTXAssembly;
    }

    private static (int Exit, string Output) Assemble(string file, string architecture)
    {
        string result = Path.GetTempFileName();
        try
        {
            var start = new ProcessStartInfo(PtxasTheoryAttribute.Ptxas!) { RedirectStandardOutput = true, RedirectStandardError = true };
            foreach (string a in (string[])["-v", $"-arch={architecture}", file, "-o", result]) start.ArgumentList.Add(a);
            using var process = Process.Start(start)!;
            var error = process.StandardError.ReadToEndAsync();
            string output = process.StandardOutput.ReadToEnd();
            Assert.True(process.WaitForExit(60_000), "ptxas hangs");
            return (process.ExitCode, output + error.Result);
        }
        finally
        {
            File.Delete(result);
        }
    }

    [GeneratedRegex(@"(\d+) bytes spill stores, (\d+) bytes spill loads")]
    private static partial Regex SpillPattern();

    /// <summary>A theory that needs NVIDIA's assembler.</summary>
    [AttributeUsage(AttributeTargets.Method)]
    private sealed class PtxasTheoryAttribute : TheoryAttribute
    {
        public PtxasTheoryAttribute()
        {
            if (Ptxas is null) Skip = $"no ptxas: set {Variable} to its path (.ci/fetch-ptxas fetches one)";
        }

        public static string? Ptxas { get; } = Environment.GetEnvironmentVariable(Variable) is { Length: > 0 } path && File.Exists(path) ? path : null;
    }
}
