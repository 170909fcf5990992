using System.Diagnostics;

namespace DiffusionCore.Peers;

/// <summary>The most memory that one evaluation of a network takes, each side in a process of its own.</summary>
internal static class NetworkMemory
{
    /// <summary>The word that starts a child: side and network follow.</summary>
    public const string Child = "memory-of";

    /// <summary>One evaluation; prints the largest resident size in bytes.</summary>
    public static int RunChild(NetworkFiles files, NetworkCase one, string side, int threads, GraphForm form)
    {
        var graph = one.Record(files.Model);
        var inputs = NetworkCase.Inputs(graph);
        if (side == "ours")
        {
            using var ours = new OurNetwork(graph, inputs, threads);
            ours.Run();
        }
        else
        {
            using var peer = new PeerNetwork(files.Onnx(one, form), graph, inputs, threads);
            peer.Run();
        }

        Console.WriteLine(Process.GetCurrentProcess().PeakWorkingSet64);
        return 0;
    }

    /// <summary>Prints a row: both sides' peaks and their ratio.</summary>
    public static void Run(NetworkFiles files, NetworkCase one, string folder, int threads)
    {
        files.Export(one);
        double ours = Peak("ours", GraphForm.Fused) / 1e9;
        foreach (var form in Enum.GetValues<GraphForm>())
        {
            double peer = Peak("peer", form) / 1e9;
            Console.WriteLine($"{one.Name}: largest resident size of a process that evaluates once: ours with F16 weights {ours:F2} GB, ONNX Runtime's {form.ToString().ToLowerInvariant()} F32 graph {peer:F2} GB, ratio {ours / peer:F2}");
        }

        long Peak(string side, GraphForm form)
        {
            string program = Environment.ProcessPath!;
            List<string> arguments = [Child, side, one.Name, "--models", folder, "--threads", $"{threads}", "--form", form.ToString()];
            if (Path.GetFileNameWithoutExtension(program) == "dotnet") arguments.Insert(0, Environment.GetCommandLineArgs()[0]);
            using var child = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true })!;
            string text = child.StandardOutput.ReadToEnd();
            child.WaitForExit();
            return child.ExitCode == 0 ? long.Parse(text.Trim()) : throw new InvalidOperationException($"{side} failed with {child.ExitCode}");
        }
    }
}
