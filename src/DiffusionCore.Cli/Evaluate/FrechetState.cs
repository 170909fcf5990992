using System.Text.Json;
using DiffusionCore.Json;
using DiffusionCore.Runtime;

namespace DiffusionCore.Cli;

/// <summary>What a sweep has measured so far, in a file that is replaced as a whole after every cell; columns, as JSON.</summary>
internal sealed class FrechetState
{
    private const string FormatName = "dcore frechet 1";

    private readonly string? path;
    private readonly string settings;
    private readonly List<FrechetCell> cells = [];

    /// <param name="path">Null keeps nothing. A file that exists is gone on with.</param>
    /// <param name="settings">What all cells have in common.</param>
    /// <exception cref="ModelFileException">The file is no such state, or of other settings.</exception>
    public FrechetState(string? path, string settings)
    {
        this.path = path;
        this.settings = settings;
        if (path is null) return;
        if (!File.Exists(path))
        {
            AtomicFile.Check(path, overwrite: false);
            return;
        }

        var f = ConfigFile.Load(path);
        if (f.GetString("format", "") != FormatName) throw new ModelFileException(path, "format", $"expected '{FormatName}': this is no file of this command");
        string found = f.GetString("settings", "");
        if (found != settings) throw new ModelFileException(path, "settings", $"expected '{settings}', found '{found}': its numbers do not compare with these; name another file");
        string[] samplers = f.GetOptionalStrings("sampler") ?? [];
        int[] asked = f.GetOptionalInts("asked") ?? [], evaluations = f.GetOptionalInts("evaluations") ?? [], images = f.GetOptionalInts("images") ?? [];
        double[] distance = f.GetOptionalDoubles("distance") ?? [], seconds = f.GetOptionalDoubles("seconds") ?? [], agreement = f.GetOptionalDoubles("agreement") ?? [];
        int n = samplers.Length;
        if (asked.Length != n || evaluations.Length != n || images.Length != n || distance.Length != n || seconds.Length != n || agreement.Length != n)
            throw new ModelFileException(path, null, $"its columns are not all of length {n}");
        for (int i = 0; i < n; i++) cells.Add(new(samplers[i], asked[i], evaluations[i], images[i], distance[i], seconds[i], agreement[i]));
    }

    public IReadOnlyList<FrechetCell> Cells => cells;

    public FrechetCell? Find(string sampler, int asked, int images) => cells.Find(c => c.Sampler == sampler && c.Asked == asked && c.Images == images);

    public void Add(FrechetCell cell)
    {
        cells.Add(cell);
        if (path is null) return;
        AtomicFile.Write(path, overwrite: true, stream =>
        {
            using var w = new Utf8JsonWriter(stream, new JsonWriterOptions { Indented = true });
            w.WriteStartObject();
            w.WriteString("format", FormatName);
            w.WriteString("settings", settings);
            Column(w, "sampler", c => w.WriteStringValue(c.Sampler));
            Column(w, "asked", c => w.WriteNumberValue(c.Asked));
            Column(w, "evaluations", c => w.WriteNumberValue(c.Evaluations));
            Column(w, "images", c => w.WriteNumberValue(c.Images));
            Column(w, "distance", c => w.WriteNumberValue(c.Distance));
            Column(w, "seconds", c => w.WriteNumberValue(c.Seconds));
            Column(w, "agreement", c => w.WriteNumberValue(c.Agreement));
            w.WriteEndObject();
        });
    }

    private void Column(Utf8JsonWriter w, string name, Action<FrechetCell> write)
    {
        w.WriteStartArray(name);
        cells.ForEach(write);
        w.WriteEndArray();
    }
}
