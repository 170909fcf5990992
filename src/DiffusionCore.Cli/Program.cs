using DiffusionCore.Cli;

return CommandLine.Run(args);
