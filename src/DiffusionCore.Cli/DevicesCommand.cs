using System.CommandLine;
using DiffusionCore.Runtime;

namespace DiffusionCore.Cli;

/// <summary>dcore devices.</summary>
internal static class DevicesCommand
{
    public static Command Create()
    {
        var threads = CliOptions.Threads();
        var json = CliOptions.Json();
        var command = new Command("devices", "List devices with their measured peaks") { threads, json };
        command.SetAction(p =>
        {
            var measured = new List<Measured>();
            using (var cpu = new CpuDevice(p.GetValue(threads))) measured.Add(new(cpu.Name, cpu.Description, false, cpu.MemoryBytes, cpu.Threads, cpu.MeasurePeak(), null));
            foreach (var entry in GpuDevices.All) measured.Add(Measure(entry));
            if (p.GetValue(json)) Json(measured);
            else Text(measured);
            return 0;
        });
        return command;
    }

    /// <param name="Threads">Of the CPU device; null for others.</param>
    /// <param name="Problem">Why it cannot be used; then there is no peak.</param>
    private sealed record Measured(string Name, string Description, bool IsGpu, long MemoryBytes, int? Threads, Peak? Peak, string? Problem);

    private static Measured Measure(GpuDeviceEntry entry)
    {
        try
        {
            using var device = entry.Open();
            return new(entry.Name, entry.Description, entry.IsGpu, entry.MemoryBytes, null, device.MeasurePeak(), null);
        }
        catch (DiffusionCoreException e) when (e is DeviceException or MemoryException)
        {
            return new(entry.Name, entry.Description, entry.IsGpu, entry.MemoryBytes, null, null, e.Message);
        }
    }

    private static void Text(List<Measured> devices)
    {
        var table = Tables.New("device", "description", ">FMA GFLOP/s", ">per core", ">read GB/s", ">copy GB/s");
        foreach (var d in devices)
        {
            if (d.Peak is { } peak) table.Row(d.Name, d.Description, $"{peak.Gflops:F1}", $"{peak.GflopsPerCore:F1}", $"{peak.ReadGigabytesPerSecond:F1}", $"{peak.CopyGigabytesPerSecond:F1}");
            else table.Row(d.Name, $"cannot be used: {d.Problem}", "", "", "", "");
        }

        table.Print();
        if (!GpuDevices.Included || GpuDevices.Best is null) Console.Out.WriteLine($"no GPU: {GpuDevices.WhyNone}");
    }

    private static void Json(List<Measured> devices) => JsonOut.Write(w =>
    {
        w.WriteStartArray("devices");
        foreach (var d in devices)
        {
            w.WriteStartObject();
            w.WriteString("name", d.Name);
            w.WriteString("description", d.Description);
            w.WriteBoolean("gpu", d.IsGpu);
            w.WriteNumber("memory_bytes", d.MemoryBytes);
            if (d.Threads is { } threads) w.WriteNumber("threads", threads);
            if (d.Problem is { } problem) w.WriteString("problem", problem);
            if (d.Peak is { } peak)
            {
                w.WriteNumber("gflops", peak.Gflops);
                w.WriteNumber("gflops_per_core", peak.GflopsPerCore);
                w.WriteNumber("read_gigabytes_per_second", peak.ReadGigabytesPerSecond);
                w.WriteNumber("copy_gigabytes_per_second", peak.CopyGigabytesPerSecond);
            }

            w.WriteEndObject();
        }

        w.WriteEndArray();
        if (GpuDevices.Best is null) w.WriteString("no_gpu", GpuDevices.WhyNone);
    });
}
