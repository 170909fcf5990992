using System.CommandLine;
using System.Globalization;
using DiffusionCore.Imaging;
using DiffusionCore.Pipelines;
using DiffusionCore.Runtime;

namespace DiffusionCore.Cli;

/// <summary>Options of the picture that is written while images are made.</summary>
internal sealed class PreviewSettings
{
    private const int DefaultEvery = 5;

    private readonly Option<string?> file = new("--preview") { Description = "PNG that shows what the images will be, written anew every few steps; always whole" };

    private readonly Option<int> every = CliOptions.Number("--preview-every", "Steps from one preview to the next", DefaultEvery, 1, 10_000);

    private readonly Option<string?> stage = new("--preview-vae")
    {
        Description = "Folder of a tiny autoencoder (TAESD) that makes the previews; without it one in the model's folder (taesd, taesdxl, vae_tiny), else colours straight from the latent at its size",
    };

    public void AddTo(Command command)
    {
        command.Add(file);
        command.Add(every);
        command.Add(stage);
    }

    public string? File(ParseResult p) => p.GetValue(file);

    public string? Stage(ParseResult p) => p.GetValue(stage);

    /// <exception cref="UsageException">Settings of previews without a file, or a file that is no PNG.</exception>
    /// <exception cref="FileException">The file is there already, or cannot be written.</exception>
    public PreviewOptions? Read(ParseResult p, bool force)
    {
        if (File(p) is not { } path)
        {
            foreach (Option option in (Option[])[every, stage])
                if (p.GetResult(option) is { Implicit: false }) throw new UsageException($"{option.Name}: has no effect without --preview");
            return null;
        }

        if (!path.EndsWith(".png", StringComparison.OrdinalIgnoreCase)) throw new UsageException($"--preview: images are written as PNG; expected a name that ends in .png, found '{path}'");
        AtomicFile.Check(path, force);
        AtomicFile.CheckFolder(path);
        return new PreviewOptions(p.GetValue(every), Writer(path));
    }

    // A preview that cannot be written is said once; the images are worth more than it.
    private static Action<Preview> Writer(string path)
    {
        var codec = new StbCodec();
        bool broken = false;
        return preview =>
        {
            if (broken) return;
            var images = preview.Images.Select(pixels => new Image(preview.Width, preview.Height, preview.Channels, pixels)).ToArray();
            var picture = Image.Grid(images, (int)Math.Ceiling(Math.Sqrt(images.Length)));
            string at = string.Create(CultureInfo.InvariantCulture, $"Step {preview.Step}{(preview.Steps is { } steps ? $" of {steps}" : "")}, image {preview.FirstImage + 1}{(images.Length > 1 ? $" to {preview.FirstImage + images.Length}" : "")}");
            try
            {
                AtomicFile.Write(path, overwrite: true, stream => codec.EncodePng(picture, stream, [("preview", at)]));
            }
            catch (FileException e)
            {
                broken = true;
                CommandLine.Note($"no more previews: {e.Message}");
            }
        };
    }
}
