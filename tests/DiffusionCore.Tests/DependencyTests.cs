using System.Reflection;

namespace DiffusionCore.Tests;

/// <summary>Dependencies run one way: the engine knows the runtime, the runtime the kernels, and none of them a package.</summary>
public class DependencyTests
{
    public static TheoryData<string, string[]> Allowed() => new()
    {
        { "DiffusionCore.Kernels.Host", [] },
        { "DiffusionCore.Runtime", ["DiffusionCore.Kernels.Host"] },
        { "DiffusionCore", ["DiffusionCore.Runtime", "DiffusionCore.Kernels.Host"] },
    };

    [Theory]
    [MemberData(nameof(Allowed))]
    public void An_assembly_refers_to_those_below_it_and_the_framework_only(string name, string[] allowed)
    {
        var references = Assembly.Load(name).GetReferencedAssemblies().Select(a => a.Name!).Where(a => !a.StartsWith("System", StringComparison.Ordinal) && a is not ("netstandard" or "Microsoft.Win32.Primitives"));
        Assert.All(references, r => Assert.Contains(r, allowed));
    }
}
