namespace DiffusionCore.Pipelines;

/// <summary>Pictures of what the network takes the images to be while it still denoises them.</summary>
/// <param name="Every">Steps from one to the next.</param>
/// <param name="Shown">Called with the pictures of a batch; what it throws ends the run.</param>
public sealed record PreviewOptions(int Every, Action<Preview> Shown);

/// <summary>Pictures of a batch.</summary>
/// <param name="FirstImage">Index of the batch's first image.</param>
/// <param name="Steps">Steps of the run; null where the sampler decides as it goes.</param>
/// <param name="Images">One per image: rows of interleaved channels, 8 bits each.</param>
public sealed record Preview(int FirstImage, int Step, int? Steps, int Width, int Height, int Channels, IReadOnlyList<byte[]> Images);
