using System.CommandLine;
using System.Globalization;
using DiffusionCore.Json;
using DiffusionCore.Pipelines;
using DiffusionCore.Runtime;
using DiffusionCore.Weights;
using Spectre.Console;

namespace DiffusionCore.Cli;

/// <summary>Tables on stdout.</summary>
internal static class Tables
{
    public static Table New(params string[] columns)
    {
        var table = new Table { Border = TableBorder.Simple };
        foreach (string column in columns) table.AddColumn(new TableColumn(Markup.Escape(column.TrimStart('>'))) { NoWrap = true, Alignment = column.StartsWith('>') ? Justify.Right : Justify.Left });
        return table;
    }

    public static void Row(this Table table, params object[] cells) =>
        table.AddRow(cells.Select(c => Markup.Escape(Visible(Convert.ToString(c, CultureInfo.InvariantCulture) ?? ""))).ToArray());

    public static void Print(this Table table)
    {
        // No width to fit: a table that is too wide would be cut, to a single mark at worst; a terminal folds its lines.
        var console = AnsiConsole.Console;
        console.Profile.Width = 400;
        console.Write(table);
    }

    /// <summary>Names come from files that anyone may have written: no escape sequence of theirs reaches a terminal.</summary>
    public static string Visible(string text) =>
        text.Any(char.IsControl) ? string.Concat(text.Select(c => char.IsControl(c) ? string.Create(CultureInfo.InvariantCulture, $"\\u{(int)c:x4}") : c.ToString())) : text;

    public static string Bytes(double n) => n >= 1e9 ? $"{n / 1e9:F2} GB" : n >= 1e6 ? $"{n / 1e6:F1} MB" : n >= 1e3 ? $"{n / 1e3:F1} KB" : $"{n:F0} B";

    public static string Si(double n) => n >= 1e12 ? $"{n / 1e12:F2} T" : n >= 1e9 ? $"{n / 1e9:F2} G" : n >= 1e6 ? $"{n / 1e6:F2} M" : n >= 1e3 ? $"{n / 1e3:F1} k" : $"{n:F0} ";
}

/// <summary>dcore inspect.</summary>
internal static class InspectCommand
{
    public static Command Create()
    {
        var path = new Argument<string>("MODEL") { Description = "Safetensors file, index, component folder or model folder" };
        var json = CliOptions.Json();
        var finite = new Option<bool>("--check-finite") { Description = "Look for NaN and infinity" };
        var command = new Command("inspect", "Show what a weights file or model folder holds") { path, json, finite };
        command.SetAction(p =>
        {
            string given = p.GetValue(path)!;
            var parts = new List<(string Name, string Folder)>();
            if (File.Exists(Path.Combine(given, "model_index.json")))
            {
                ConfigFile.Load(Path.Combine(given, "model_index.json"));
                foreach (string folder in Directory.GetDirectories(given).Order(StringComparer.Ordinal))
                    if (File.Exists(Path.Combine(folder, "config.json"))) parts.Add((Path.GetFileName(folder), folder));
            }
            else
            {
                parts.Add((Path.GetFileName(Path.TrimEndingDirectorySeparator(given)), given));
            }

            if (parts.Count == 0) throw new ModelFileException(given, null, "has no component with a config.json");
            var opened = new List<(string Name, string Class, Checkpoint Checkpoint)>();
            try
            {
                foreach (var (name, folder) in parts)
                {
                    string config = Path.Combine(folder, "config.json");
                    var checkpoint = Checkpoint.Open(folder);
                    opened.Add((name, File.Exists(config) ? ConfigFile.Load(config).ClassName : "", checkpoint));
                    if (p.GetValue(finite)) FiniteCheck.Run(checkpoint);
                }

                if (p.GetValue(json)) Json(opened);
                else Text(opened);
            }
            finally
            {
                foreach (var (_, _, checkpoint) in opened) checkpoint.Dispose();
            }

            return 0;
        });
        return command;
    }

    private static double Count(TensorEntry e) => e.Dims.Aggregate(1.0, (a, d) => a * d);

    private static void Text(List<(string Name, string Class, Checkpoint Checkpoint)> parts)
    {
        foreach (var (name, kind, checkpoint) in parts)
        {
            var table = Tables.New("tensor", "type", "shape", ">bytes");
            double parameters = 0, bytes = 0;
            foreach (string tensor in checkpoint.Names.Order(StringComparer.Ordinal))
            {
                checkpoint.TryGet(tensor, out var e);
                table.Row(e.Name, e.Type.FileName(), $"[{string.Join(", ", e.Dims)}]", e.Bytes);
                parameters += Count(e);
                bytes += e.Bytes;
            }

            table.Print();
            Console.Out.WriteLine($"{name}{(kind.Length > 0 ? $" ({kind})" : "")}: {checkpoint.Count} tensors, {Tables.Si(parameters)}parameters, {Tables.Bytes(bytes)}");
            foreach (var (key, text) in checkpoint.Metadata) Console.Out.WriteLine(Tables.Visible($"  {key}: {text}"));
        }
    }

    private static void Json(List<(string Name, string Class, Checkpoint Checkpoint)> parts) => JsonOut.Write(w =>
    {
        w.WriteStartArray("components");
        foreach (var (name, kind, checkpoint) in parts)
        {
            w.WriteStartObject();
            w.WriteString("name", name);
            if (kind.Length > 0) w.WriteString("class", kind);
            w.WriteString("path", checkpoint.Path);
            w.WriteNumber("parameters", checkpoint.Names.Sum(n => checkpoint.TryGet(n, out var e) ? Count(e) : 0));
            w.WriteStartObject("metadata");
            foreach (var (key, text) in checkpoint.Metadata) w.WriteString(key, text);
            w.WriteEndObject();
            w.WriteStartArray("tensors");
            foreach (string tensor in checkpoint.Names.Order(StringComparer.Ordinal))
            {
                checkpoint.TryGet(tensor, out var e);
                w.WriteStartObject();
                w.WriteString("name", e.Name);
                w.WriteString("dtype", e.Type.FileName());
                w.WriteStartArray("shape");
                foreach (long d in e.Dims) w.WriteNumberValue(d);
                w.WriteEndArray();
                w.WriteNumber("bytes", e.Bytes);
                w.WriteEndObject();
            }

            w.WriteEndArray();
            w.WriteEndObject();
        }

        w.WriteEndArray();
    });
}
