using System.CommandLine;
using System.CommandLine.Help;
using System.Reflection;
using System.Runtime.InteropServices;
using DiffusionCore.Runtime;

namespace DiffusionCore.Cli;

/// <summary>The root command, and what happens to everything that goes wrong: one line on stderr and the right exit code.</summary>
internal static class CommandLine
{
    private const int UnexpectedExit = 70;
    private const int InterruptedExit = 130;
    private const int TerminatedExit = 143;

    public static string Version => typeof(CommandLine).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion.Split('+')[0] ?? "0";

    public static int Run(string[] args)
    {
        using var stop = new CancellationTokenSource();
        int signalExit = 0;
        bool stopsItself = false;
        using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, c => OnSignal(c, InterruptedExit));
        using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, c => OnSignal(c, TerminatedExit));
        try
        {
            StandardOutput.Install();
            return Dispatch(args, stop.Token, () => stopsItself = true);
        }
        catch (OperationCanceledException)
        {
            return Report("cancelled", signalExit == 0 ? InterruptedExit : signalExit);
        }
        catch (DiffusionCoreException e)
        {
            return Report(e.Message, (int)e.Kind, e);
        }
        catch (OutOfMemoryException e)
        {
            return Report("out of memory; use a smaller --batch or --size", (int)ErrorKind.Memory, e);
        }
        catch (IOException e) when (IsClosedPipe(e))
        {
            return 0;                                   // the reader of stdout has left; there is nobody to tell
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return Report(e.Message, (int)ErrorKind.Io, e);
        }
        catch (Exception e)
        {
            return Report($"unexpected {e.GetType().Name}: {e.Message} (set DCORE_TRACE=1 for the trace, and please report it)", UnexpectedExit, e);
        }

        void OnSignal(PosixSignalContext context, int exit)
        {
            if (signalExit != 0 || !stopsItself) Environment.Exit(exit);    // the second one does not wait
            signalExit = exit;
            context.Cancel = true;
            stop.Cancel();
        }
    }

    /// <summary>An error on stderr, as one line.</summary>
    public static int Report(string message, int exit, Exception? e = null)
    {
        try
        {
            Console.Error.WriteLine("dcore: error: " + message.ReplaceLineEndings(" "));
            if (e is not null && Environment.GetEnvironmentVariable("DCORE_TRACE") == "1") Console.Error.WriteLine(e);
        }
        catch (Exception closed) when (closed is IOException or UnauthorizedAccessException)
        {
            // stderr is closed or full: the exit code has to say it.
        }

        return exit;
    }

    /// <summary>A remark on stderr; nothing fails because nobody can read it.</summary>
    public static void Note(string message)
    {
        try
        {
            Console.Error.WriteLine("dcore: " + message);
        }
        catch (Exception closed) when (closed is IOException or UnauthorizedAccessException)
        {
        }
    }

    public static bool IsClosedPipe(IOException e) => e.Message.Contains("Broken pipe", StringComparison.Ordinal);

    private static int Dispatch(string[] args, CancellationToken cancellation, Action stopsItself)
    {
        Command generate = GenerateCommand.Create(cancellation), explain = ExplainCommand.Create(cancellation), profile = ProfileCommand.Create(cancellation), evaluate = EvaluateCommand.Create(cancellation);
        var synth = SynthCommand.Create(cancellation);
        var root = new RootCommand("DiffusionCore: a diffusion engine in C#. Makes images, explains and measures its networks.")
        {
            generate, DevicesCommand.Create(), InspectCommand.Create(), ScheduleCommand.Create(), explain, profile, RunCommand.Create(), evaluate, synth,
        };
        if (args.Length == 0) return root.Parse(["--help"]).Invoke(Configuration());

        // No response files: '@' may begin the name of a file or a class.
        var parsed = root.Parse(args, new ParserConfiguration { ResponseFileTokenReplacer = null });
        if (parsed.Errors.Count > 0 && parsed.Action is not HelpAction && args is not ["--version"]) throw new UsageException(Explain(parsed));
        // These look at the cancellation as they go; a signal ends the others at once.
        if (parsed.CommandResult.Command is { } command && (command == generate || command == explain || command == profile || command == evaluate || command == synth)) stopsItself();
        return parsed.Invoke(Configuration());
    }

    // Errors and signals are handled above.
    private static InvocationConfiguration Configuration() => new() { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null };

    // The parser's own words, with the nearest name where one was not known.
    private static string Explain(ParseResult parsed)
    {
        if (parsed.UnmatchedTokens.Count > 0)
        {
            string token = parsed.UnmatchedTokens[0];
            var command = parsed.CommandResult.Command;
            bool option = token.StartsWith('-');
            string[] known = option
                ? [.. command.Options.SelectMany(o => o.Aliases.Append(o.Name))]
                : [.. command.Subcommands.Select(c => c.Name)];
            string what = option ? "option" : known.Length > 0 ? "command" : "argument";
            string near = Suggestion.Nearest(token, known) is { } name ? $"; did you mean '{name}'?" : $"; see dcore {(command is RootCommand ? "" : command.Name + " ")}--help";
            return $"unknown {what} '{token}'{near}";
        }

        return parsed.Errors[0].Message.TrimEnd('.');
    }
}
