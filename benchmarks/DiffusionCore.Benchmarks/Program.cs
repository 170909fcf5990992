// The operators of this engine at the shapes of the networks that it is for.
//
//   dotnet run -c Release --project benchmarks/DiffusionCore.Benchmarks -- choice     direct against Winograd, one worker by CPU time: the table of ConvolutionChoice.cs
using DiffusionCore.Benchmarks;

switch (args.FirstOrDefault())
{
    case "choice":
        ChoiceTable.Run();
        return 0;
    default:
        Console.Error.WriteLine("expected choice");
        return 2;
}
