using System.Runtime.InteropServices;
using System.Text.Json;
using System.Text.RegularExpressions;
using DiffusionCore.Json;
using DiffusionCore.Models;
using DiffusionCore.Runtime;
using DiffusionCore.Weights;
using Xunit.Abstractions;

namespace DiffusionCore.Tests.Models;

/// <summary>
/// Every golden network that is there, evaluated once on the inputs that it comes with, as dcore run does: what it answers is what the peer answered.
/// Outputs of whole sampling runs are not a network's.
/// </summary>
[Trait("Category", "Conformance")]
public partial class GoldenSweepTests(ITestOutputHelper log)
{
    private const double Bound = 5e-5;

    // Classes that are a loop around networks, and families that the engine refuses by name.
    [GeneratedRegex("sample|likelihood|Diffusion$|^SD3|^Flux")]
    private static partial Regex NotNetworks();

    // What a peer's sampling or derivative adds to the outputs of the network in the same file.
    [GeneratedRegex("^out\\.(grad|final|samples.*|x[0-9]+|x_cur[0-9]+|ablation.*|pred_x0_[0-9]+|model_timesteps|heun.*|dpm.*|euler|ancestral|progdist|onestep|multistep.*|score|ode_.*|churn.*|guided|plain)$")]
    private static partial Regex SamplingOutputs();

    public static TheoryData<string> Folders()
    {
        var names = new TheoryData<string>();
        if (ConformanceData.Folder is null)
        {
            names.Add("none");
            return names;
        }

        foreach (string folder in Directory.GetDirectories(ConformanceData.PathOf("golden")).Order(StringComparer.Ordinal))
        {
            var config = ConfigFile.Load(Path.Combine(folder, "config.json"));
            if (!NotNetworks().IsMatch(config.ClassName)) names.Add(Path.GetFileName(folder));
        }

        return names;
    }

    [ConformanceTheory]
    [MemberData(nameof(Folders))]
    public void An_evaluation_gives_every_output_that_the_inputs_allow(string name)
    {
        using var model = GoldenModel.Open(name);
        using var device = new CpuDevice(2);
        using var component = Component.Load(model.Folder);
        string[] expected = [.. model.IO.Names.Where(n => n.StartsWith("out.", StringComparison.Ordinal) && !SamplingOutputs().IsMatch(n)).Order(StringComparer.Ordinal)];
        if (expected.Length == 0)
        {
            // A sampling run alone: its inputs are noise, and the network says what it lacks.
            Assert.Contains("is missing", Assert.Throws<ModelFileException>(() => Component.Run(component, model.IO, device)).Message, StringComparison.Ordinal);
            return;
        }

        var results = Component.Run(component, model.IO, device, Noted(name, model)).ToDictionary(r => r.Name);
        foreach (string output in expected)
        {
            Assert.True(results.TryGetValue(output, out var result), $"{name}: no {output}; there are {string.Join(", ", results.Keys)}");
            model.IO.TryGet(output, out var entry);
            Assert.Equal(entry.Dims, result.Dims);
            byte[] want = GoldenModel.Read(model.IO, output);
            if (entry.Type == StorageType.F32) GoldenModel.AssertClose(want, result.Data.Span, Bound, $"{name} {output}");
            else Assert.True(result.Data.Span.SequenceEqual(want), $"{name} {output}: whole numbers differ");
        }

        log.WriteLine($"{name}: {string.Join(", ", expected)}");
    }

    // Numbers that the peer's call had and its file lacks: what the note says as name=number, and the time of the raw consistency network, 100 sigma.
    private static List<TensorData> Noted(string name, GoldenModel model)
    {
        var more = new List<TensorData>();
        using var golden = JsonDocument.Parse(File.ReadAllBytes(ConformanceData.PathOf("golden", name, "golden.json")));
        string note = golden.RootElement.TryGetProperty("note", out var text) ? text.GetString()! : "";
        if (ScaleNote().Match(note) is { Success: true } scale)
            more.Add(new TensorData("in.conditioning_scale", StorageType.F32, [], BitConverter.GetBytes(float.Parse(scale.Groups[1].Value, System.Globalization.CultureInfo.InvariantCulture))));
        if (model.IO.TryGet("out.F_raw", out _) && model.IO.TryGet("in.sigmas", out var sigmas))
        {
            float[] times = Array.ConvertAll(MemoryMarshal.Cast<byte, float>(GoldenModel.Read(model.IO, "in.sigmas")).ToArray(), s => 100 * s);
            more.Add(new TensorData("in.timesteps", StorageType.F32, sigmas.Dims, MemoryMarshal.AsBytes(times.AsSpan()).ToArray()));
        }

        return more;
    }

    [GeneratedRegex("conditioning_scale=([0-9.]+[0-9])")]
    private static partial Regex ScaleNote();
}
