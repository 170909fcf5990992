namespace DiffusionCore.Fuzz;

/// <summary>A parser under test: how its inputs are made, how it is called, and what must hold for what it accepts.</summary>
public abstract class FuzzTarget
{
    public abstract string Name { get; }

    /// <summary>One input: sound, nearly sound, or damaged.</summary>
    public abstract byte[] Make(Draw draw);

    /// <summary>Calls the parser.</summary>
    /// <exception cref="Runtime.DiffusionCoreException">The input is refused. Anything else that is thrown is a finding.</exception>
    public abstract object Parse(byte[] input);

    /// <summary>Writes what was accepted and reads it again; throws where it is not the same.</summary>
    public abstract void RoundTrip(byte[] input, object parsed);

    /// <summary>Managed bytes that the parser may ask for: twice the file, a constant for messages and tables, and what the format says a sound result takes.</summary>
    public virtual long AllocationLimit(byte[] input) => 2L * input.Length + Slack;

    /// <summary>Fixed tables, the first buffers of collections, and an error's message.</summary>
    protected const long Slack = 96 << 10;
}

/// <summary>An accepted input that did not come back as it was.</summary>
public sealed class RoundTripException(string message) : Exception(message);
