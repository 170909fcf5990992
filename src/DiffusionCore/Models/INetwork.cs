namespace DiffusionCore.Models;

/// <summary>
/// A network that can be evaluated by itself, between named inputs and outputs that lie as files have them (channels first).
/// Pipelines use a network's own Record methods instead, whose values are channels last.
/// </summary>
public interface INetwork
{
    /// <summary>Records every output that the given inputs allow.</summary>
    /// <exception cref="Runtime.ModelFileException">An input is missing, has another shape than the network takes, or is one that it does not take.</exception>
    void Record(NetworkIO io);
}
