using System.Runtime.InteropServices;
using DiffusionCore.Pipelines;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;

namespace DiffusionCore.Gpu.Tests;

/// <summary>What devices say of themselves, and how they refuse.</summary>
[Collection(Devices.Name)]
public class DeviceTests
{
    [Fact]
    public void The_catalog_has_ilgpu_cpu_last_and_every_name_once()
    {
        Assert.Equal("ilgpu-cpu", DeviceCatalog.Devices[^1].Name);
        Assert.Equal(DeviceCatalog.Devices.Count, DeviceCatalog.Devices.Select(d => d.Name).Distinct().Count());
        Assert.All(DeviceCatalog.Devices, d => Assert.True(d.MemoryBytes > 0 && d.Description.Length > 0));
        Assert.True(DeviceCatalog.BestGpu is null or { IsGpu: true });
        Assert.NotEqual("", DeviceCatalog.WhyNoGpu);
    }

    [Theory]
    [InlineData(DeviceKind.Cuda, 99, "cuda:99")]
    [InlineData(DeviceKind.OpenCL, 99, "opencl:99")]
    [InlineData(DeviceKind.IlgpuCpu, 1, "ilgpu-cpu")]
    public void An_absent_device_is_refused_with_what_there_is(DeviceKind kind, int index, string name)
    {
        var e = Assert.Throws<DeviceException>(() => DeviceCatalog.Open(kind, index));
        Assert.StartsWith(name + ": there is no such device", e.Message);
        Assert.Contains("--device cpu", e.Message);
    }

    [OpenCLFact]
    public void More_memory_than_the_device_has_is_refused_with_sizes()
    {
        long held = Devices.OpenCL.AllocatedBytes;
        var e = Assert.Throws<MemoryException>(() => Devices.OpenCL.Allocate(Devices.OpenCL.MemoryBytes));
        Assert.Contains("opencl:0", e.Message);
        Assert.Contains($"{Devices.OpenCL.MemoryBytes / 1e6:F0} MB", e.Message);
        Assert.Equal(held, Devices.OpenCL.AllocatedBytes);
    }

    [OpenCLFact]
    public void A_tensor_of_more_than_2_to_the_31_elements_is_refused_before_anything_runs()
    {
        using var model = ModelFolder.Load(NetworkTests.Bundled("fashion-ddpm-32"));
        using var pipeline = new GeneratePipeline(model, Devices.OpenCL);
        long held = Devices.OpenCL.AllocatedBytes;
        var e = Assert.Throws<DeviceException>(() => pipeline.Session(new GenerateRequest { Width = 8192, Height = 8192, Options = new SamplerOptions { Steps = 1 } }, 64));
        Assert.Contains("2^31", e.Message);
        Assert.Equal(held, Devices.OpenCL.AllocatedBytes);
    }

    [OpenCLFact]
    public void Memory_is_given_back()
    {
        long held = Devices.OpenCL.AllocatedBytes;
        using (var model = ModelFolder.Load(NetworkTests.Bundled("fashion-ddpm-32")))
        using (var pipeline = new GeneratePipeline(model, Devices.OpenCL))
        {
            pipeline.Session(new GenerateRequest { Options = new SamplerOptions { Steps = 1 } }, 1);
            Assert.True(Devices.OpenCL.AllocatedBytes > held);
        }

        Assert.Equal(held, Devices.OpenCL.AllocatedBytes);
    }

    [OpenCLFact]
    public void A_buffer_of_another_device_is_refused()
    {
        using var foreign = Devices.IlgpuCpu.Allocate(16);
        using var host = new CpuDevice(1);
        using var third = host.Allocate(16);
        Assert.Throws<ArgumentException>(() => Devices.OpenCL.Upload(new byte[4], foreign));
        Assert.Throws<ArgumentException>(() => Devices.OpenCL.Download(third, new byte[4]));
    }

    [Fact]
    public void Bytes_come_back_as_they_went_at_every_length()
    {
        foreach (int length in new[] { 0, 1, 63, 64, 65, 1000 })
        {
            byte[] sent = [.. Enumerable.Range(0, length).Select(i => (byte)(i * 7 + 1))], received = new byte[length];
            using var buffer = Devices.IlgpuCpu.Allocate(length);
            Assert.Equal(length, buffer.Bytes);
            Devices.IlgpuCpu.Upload(sent, buffer);
            Devices.IlgpuCpu.Download(buffer, received);
            Assert.Equal(sent, received);
            Assert.Throws<ArgumentException>(() => Devices.IlgpuCpu.Upload(new byte[length + 1], buffer));
        }
    }

    [Fact]
    public void Roofs_are_measured()
    {
        var peak = Devices.IlgpuCpu.MeasurePeak();
        Assert.True(peak is { Gflops: > 0, GflopsPerCore: > 0, ReadGigabytesPerSecond: > 0, CopyGigabytesPerSecond: > 0 }, $"{peak}");
        Assert.Same(peak, Devices.IlgpuCpu.MeasurePeak());
    }

    /// <summary>The runtime's promise is none at all; a launch through ILGPU's driver interface allocates a little, and how much is held here.</summary>
    [OpenCLFact]
    public void A_denoising_step_allocates_no_more_than_its_launches_do()
    {
        using var model = ModelFolder.Load(NetworkTests.Bundled("fashion-ddpm-32"));
        using var pipeline = new GeneratePipeline(model, Devices.OpenCL);
        var session = pipeline.Session(new GenerateRequest { Sampler = "ddim", Options = new SamplerOptions { Steps = 4 } }, 1);
        session.Start(new DenoiseStart { Seeds = [1] });
        session.Evaluate(0);
        session.Evaluate(1);
        long before = GC.GetAllocatedBytesForCurrentThread();
        session.Evaluate(2);
        long bytes = GC.GetAllocatedBytesForCurrentThread() - before;
        int launches = session.Plan.Segments[(int)Rate.Step].Steps.Count + 1;
        Assert.True(bytes <= 1024L * launches, $"{bytes} bytes for {launches} launches");
    }

    [Fact]
    public void A_step_that_has_no_kernel_says_so_in_the_plan()
    {
        var graph = new Graph();
        graph.Output("y", graph.Cast(graph.Input("x", new Shape(3), DType.U8), DType.I32));
        var step = Assert.Single(Devices.IlgpuCpu.Plan(graph).Segments[(int)Rate.Step].Steps);
        Assert.Equal("reference-on-host", step.Implementation.Name);
        Assert.Equal("U8 to I32", Assert.Single(step.Declined).Reason);
        using var weights = Devices.IlgpuCpu.CreateWeightStore();
        using var executable = Devices.IlgpuCpu.Prepare(Devices.IlgpuCpu.Plan(graph), weights);
        using var x = Devices.IlgpuCpu.Allocate(3);
        Devices.IlgpuCpu.Upload([0, 200, 7], x);
        Assert.Throws<InvalidOperationException>(() => executable.Run(Rate.Step));
        executable.Bind("x", x);
        executable.Run(Rate.Step);
        var y = new int[3];
        Devices.IlgpuCpu.Download(executable.Output("y"), MemoryMarshal.AsBytes(y.AsSpan()));
        Assert.Equal([0, 200, 7], y);
    }
}
