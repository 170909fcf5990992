using System.Runtime.InteropServices;
using DiffusionCore.Models;
using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Tests.Models;

[Trait("Category", "Conformance")]
public class GoldenNetworkTests
{
    public static TheoryData<string> Networks()
    {
        var names = new TheoryData<string>();
        if (ConformanceData.Folder is null) names.Add("none");
        else foreach (string folder in Directory.GetDirectories(ConformanceData.PathOf("golden"), "unet2d_*").Order(StringComparer.Ordinal)) names.Add(Path.GetFileName(folder));
        return names;
    }

    /// <summary>The bound is 2e-5 of the largest output; a float32 run of the peer differs from its float64 run by 1e-6 of it.</summary>
    [ConformanceTheory]
    [MemberData(nameof(Networks))]
    public void A_network_gives_the_numbers_of_the_peer(string name)
    {
        string folder = ConformanceData.PathOf("golden", name);
        using var device = new CpuDevice(2);
        using var component = Component.Load(folder);
        using var golden = Checkpoint.Open(Path.Combine(folder, "golden.safetensors"));
        Assert.Empty(component.Account.Unused);
        foreach (var result in Component.Run(component, golden, device))
        {
            var expected = new byte[result.Data.Length];
            golden.Read(result.Name, expected);
            var want = MemoryMarshal.Cast<byte, float>(expected);
            var got = MemoryMarshal.Cast<byte, float>(result.Data.Span);
            float largest = 0, error = 0;
            for (int i = 0; i < want.Length; i++)
            {
                largest = Math.Max(largest, Math.Abs(want[i]));
                error = Math.Max(error, Math.Abs(want[i] - got[i]));
            }

            Assert.True(error <= 2e-5f * largest, $"{name} {result.Name}: error {error} of {largest} is {error / largest:E2}");
        }
    }
}
