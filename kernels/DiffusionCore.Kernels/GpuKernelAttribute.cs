namespace DiffusionCore.Kernels;

/// <summary>
/// Marks a method that is launched on a device: explicitly grouped, parameters are views, numbers and structs of numbers. The compile gate assembles
/// every marked method for every architecture.
/// </summary>
/// <param name="elements">The element types that a generic kernel is used with, one instance each.</param>
[AttributeUsage(AttributeTargets.Method)]
public sealed class GpuKernelAttribute(params Type[] elements) : Attribute
{
    public IReadOnlyList<Type> Elements => elements;
}
