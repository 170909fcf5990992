using System.Runtime.InteropServices;
using DiffusionCore.Models;
using DiffusionCore.Runtime;
using DiffusionCore.Text;

namespace DiffusionCore.Pipelines;

/// <summary>A text as a denoiser reads it.</summary>
/// <param name="Hidden">[Tokens, Channels].</param>
/// <param name="Pooled">One vector of the whole text; null where no encoder gives one.</param>
/// <param name="Lost">What found no room, as text; null where everything did.</param>
public sealed record TextContext(float[] Hidden, int Tokens, int Channels, float[]? Pooled, string? Lost);

/// <summary>A text encoder of a model and the tokenizer that belongs to it.</summary>
internal sealed record TextEncoder(Component Component, ClipTextModel Network, ClipTokenizer Tokenizer);

/// <summary>
/// Prompts to contexts. With one encoder of SD 1.x or 2.x a context is its last hidden state, normalised; the models of SDXL read the state
/// before the last layer of every encoder, side by side, and the last encoder's projected vector.
/// </summary>
internal sealed class TextConditioner : IMemoryHolder, IDisposable
{
    private const int Remembered = 8;
    private const string Ids = "ids", Hidden = "hidden", Embeds = "embeds";

    private readonly Device device;
    private readonly IReadOnlyList<TextEncoder> encoders;
    private readonly bool penultimate;
    private readonly List<(string Prompt, PromptSyntax Syntax, int Chunks, int? Layer, TextContext Context)> known = [];     // least recently used first
    private WeightStore? weights;
    private PreparedNetwork[]? prepared;
    private Plan[]? plans;
    private int? preparedLayer, plannedLayer;

    /// <param name="penultimate">Whether the state before the last layer is read.</param>
    public TextConditioner(Device device, IReadOnlyList<TextEncoder> encoders, bool penultimate)
    {
        (this.device, this.encoders, this.penultimate) = (device, encoders, penultimate);
    }

    /// <summary>Bytes of weights held now.</summary>
    public long Bytes => weights?.Bytes ?? 0;

    public long HeldBytes => Bytes + (prepared?.Sum(n => n.HeldBytes) ?? 0);

    /// <summary>What encoding needs.</summary>
    public PhaseNeeds Needs(int? layer)
    {
        var each = Plans(layer).Select(p => device.Weights(p)).ToArray();
        return new PhaseNeeds("the text encoders", new WeightNeeds(each.Sum(n => n.All), each.Sum(n => n.Least)), Plans(layer).Sum(p => p.ArenaBytes));
    }

    /// <summary>Chunks that a prompt takes.</summary>
    public int ChunksOf(string prompt, PromptSyntax syntax) => encoders.Max(e => PromptTokenizer.Encode(e.Tokenizer, prompt, syntax).Chunks.Count);

    /// <param name="chunks">Chunks of the result, at least those that the prompt takes; the rest is padding.</param>
    /// <param name="layer">The layer whose state is read, counted from the last, which is 1; null for the model's own.</param>
    /// <exception cref="UsageException">The prompt cannot be read.</exception>
    public TextContext Encode(string prompt, PromptSyntax syntax, int chunks, int? layer, MemoryBudget budget)
    {
        int found = known.FindIndex(k => k.Prompt == prompt && k.Syntax == syntax && k.Chunks == chunks && k.Layer == layer);
        if (found >= 0)
        {
            var again = known[found];
            known.RemoveAt(found);
            known.Add(again);
            return again.Context;
        }

        Prepare(layer, budget);
        var parts = new (float[] Hidden, int Tokens, int Channels)[encoders.Count];
        float[]? pooled = null;
        string? lost = null;
        for (int e = 0; e < encoders.Count; e++)
        {
            var text = PromptTokenizer.Encode(encoders[e].Tokenizer, prompt, syntax).PadTo(chunks, encoders[e].Tokenizer);
            lost ??= text.Lost;
            int length = text.Chunks[0].Ids.Length, channels = encoders[e].Network.Config.Channels;
            var hidden = new float[chunks * length * channels];
            for (int c = 0; c < chunks; c++)
            {
                prepared![e].Set<long>(Ids, Array.ConvertAll(text.Chunks[c].Ids, i => (long)i));
                prepared[e].Run();
                var part = hidden.AsSpan(c * length * channels, length * channels);
                prepared[e].Output(Hidden, "text encoder").CopyTo(part);
                if (text.Chunks[c].IsWeighted) PromptWeights.Apply(part, text.Chunks[c].Weights);
                if (c == 0 && encoders[e].Network.Config.ProjectionChannels is not null) pooled = prepared[e].Output(Embeds, "text encoder");
            }

            parts[e] = (hidden, chunks * length, channels);
        }

        var context = Beside(parts, pooled, lost);
        if (known.Count == Remembered) known.RemoveAt(0);
        known.Add((prompt, syntax, chunks, layer, context));
        return context;
    }

    /// <summary>Gives the encoders' memory back; they are prepared again when a new prompt comes.</summary>
    public void Release()
    {
        foreach (var network in prepared ?? []) network.Dispose();
        weights?.Dispose();
        (prepared, weights) = (null, null);
    }

    public void Dispose() => Release();

    private void Prepare(int? layer, MemoryBudget budget)
    {
        if (prepared is not null && preparedLayer == layer) return;
        Release();
        preparedLayer = layer;
        var needs = Needs(layer);
        long room = budget.Claim(this, needs);
        weights = device.CreateWeightStore();
        var networks = new List<PreparedNetwork>();
        try
        {
            long later = needs.Weights.Least;
            foreach (var plan in Plans(layer))
            {
                var own = device.Weights(plan);
                later -= own.Least;
                long given = Math.Min(own.All, room - later);
                networks.Add(new PreparedNetwork(device, plan, weights, given));
                room -= given;
            }

            budget.Say(needs.What, networks.Sum(n => n.StreamedBytes), needs.Weights.All);
        }
        catch
        {
            foreach (var network in networks) network.Dispose();
            Release();
            throw;
        }

        prepared = [.. networks];
    }

    private Plan[] Plans(int? layer)
    {
        if (plans is null || plannedLayer != layer) (plans, plannedLayer) = ([.. encoders.Select(e => Plan(e, layer))], layer);
        return plans;
    }

    private Plan Plan(TextEncoder encoder, int? layer)
    {
        var g = new Graph();
        var y = encoder.Network.Record(g, g.Input(Ids, new Shape(1, encoder.Tokenizer.MaximumLength), DType.I64, Rate.Request));
        g.Output(Hidden, State(g, encoder.Network, y, layer));
        if (y.TextEmbeds is { } embeds) g.Output(Embeds, embeds);
        return device.Plan(g);
    }

    // SDXL reads states as they are; the others read them behind the last norm, also those of an earlier layer.
    private Value State(Graph g, ClipTextModel network, ClipTextOutputs y, int? layer) => layer is not { } n
        ? penultimate ? y.Penultimate : y.LastHiddenState
        : penultimate ? y.HiddenStates[^n] : n == 1 ? y.LastHiddenState : network.Normalised(g, y.HiddenStates[^n]);

    // Vectors of the encoders side by side, token by token.
    private static TextContext Beside((float[] Hidden, int Tokens, int Channels)[] parts, float[]? pooled, string? lost)
    {
        if (parts.Length == 1) return new TextContext(parts[0].Hidden, parts[0].Tokens, parts[0].Channels, pooled, lost);
        int tokens = parts.Min(p => p.Tokens), width = parts.Sum(p => p.Channels), at = 0;
        var all = new float[tokens * width];
        foreach (var (hidden, _, channels) in parts)
        {
            for (int t = 0; t < tokens; t++) hidden.AsSpan(t * channels, channels).CopyTo(all.AsSpan(t * width + at));
            at += channels;
        }

        return new TextContext(all, tokens, width, pooled, lost);
    }
}
