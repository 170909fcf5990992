using System.Runtime.InteropServices;
using DiffusionCore.Models;
using DiffusionCore.Runtime;
using DiffusionCore.Text;

namespace DiffusionCore.Pipelines;

/// <summary>What turns a model's condition into vectors that its network reads by cross-attention: an embedded class, or BERT over tokens.</summary>
/// <param name="Length">Tokens of any condition.</param>
/// <param name="Record">Token numbers [1, Length] to [1, Length, Channels].</param>
/// <param name="ZeroForNone">Whether no condition is a vector of zeros; else it is the class or the text for none.</param>
internal sealed record ConditionStage(ConditionKind Kind, int Length, int Channels, int Vocabulary, bool ZeroForNone, Func<Graph, Value, Value> Record)
{
    public BertTokenizer? Tokenizer { get; init; }

    public LayoutTokens? Layout { get; init; }
}

/// <summary>A class as one token. Weight name: embedding.weight [classes, channels].</summary>
public sealed class ClassEmbedder(Weights.WeightScope w, int classes, int channels) : INetwork
{
    private readonly Weights.WeightRef table = w.Tensor("embedding.weight", new Shape(classes, channels));

    public void Record(NetworkIO io) => io.Output("context", Record(io.Graph, io.Input("class_label", 2, Rate.Request)));

    /// <param name="classes">[N, 1].</param>
    /// <returns>[N, 1, channels].</returns>
    public Value Record(Graph g, Value classes) => g.Embedding(classes, g.Weight(table));
}

/// <summary>Runs a condition's encoder, once per condition of a request.</summary>
internal sealed class ConditionEncoder(Device device, ConditionStage stage) : IMemoryHolder, IDisposable
{
    private const string Ids = "ids", Context = "context";

    private readonly Dictionary<string, float[]> known = new(StringComparer.Ordinal);
    private WeightStore? weights;
    private PreparedNetwork? prepared;
    private Plan? plan;

    /// <summary>Bytes of weights held now.</summary>
    public long Bytes => weights?.Bytes ?? 0;

    public long HeldBytes => Bytes + (prepared?.HeldBytes ?? 0);

    /// <summary>What encoding needs.</summary>
    public PhaseNeeds Needs => new("the encoder of the condition would", device.Weights(EncoderPlan), EncoderPlan.ArenaBytes);

    private Plan EncoderPlan => plan ??= RecordEncoder();

    /// <param name="ids">At most the stage's length; null for none, where none is a vector of zeros.</param>
    /// <returns>[ids, Channels].</returns>
    public float[] Encode(int[]? ids, MemoryBudget budget)
    {
        if (ids is null) return new float[stage.Length * stage.Channels];
        string key = string.Join(',', ids);
        if (known.TryGetValue(key, out float[]? found)) return found;
        if (prepared is null)
        {
            long room = budget.Claim(this, Needs);
            weights = device.CreateWeightStore();
            prepared = new PreparedNetwork(device, EncoderPlan, weights, room);
            budget.Say("the encoder of the condition", prepared.StreamedBytes, device.Weights(EncoderPlan).All);
        }

        long[] numbers = Array.ConvertAll(ids, i => (long)i);
        prepared.Set<long>(Ids, numbers);
        prepared.Run();
        return known[key] = prepared.Output(Context, "encoder of the condition");
    }

    /// <summary>Gives the encoder's memory back; it is prepared again when a new condition comes.</summary>
    public void Release()
    {
        prepared?.Dispose();
        weights?.Dispose();
        (prepared, weights) = (null, null);
        if (known.Count > MostKnown) known.Clear();
    }

    public void Dispose() => Release();

    private Plan RecordEncoder()
    {
        var g = new Graph();
        g.Output(Context, stage.Record(g, g.Input(Ids, new Shape(1, stage.Length), DType.I64, Rate.Request)));
        return device.Plan(g);
    }

    private const int MostKnown = 64;
}

/// <summary>The conditions of a request of such a model, encoded before the first step.</summary>
internal sealed class LatentConditions
{
    private readonly ModelFolder model;
    private readonly bool guided;
    private readonly List<float[]> with = [], without = [];
    private readonly float[]? beside;

    /// <param name="height">Of the image, in pixels.</param>
    /// <param name="note">As that of <see cref="Conditioning"/>.</param>
    public LatentConditions(GeneratePipeline pipeline, GenerateRequest request, bool guided, int height, int width, ConditionEncoder? encoder, MemoryBudget budget, Action<string>? note)
    {
        (model, this.guided) = (pipeline.Model, guided);
        if (model.Condition is { } stage && encoder is not null) Contexts(request, stage, encoder, budget, note);
        if (model.ConditionKind == ConditionKind.LowResolution) beside = Conditioning.Signed(request.LowResolution!.Values);
        if (model.ConditionKind == ConditionKind.MaskedImage) beside = MaskedImage(pipeline, request, height, width, budget);
    }

    /// <summary>Bytes of the network's request inputs for images <paramref name="first"/> and on.</summary>
    public void Add(Dictionary<string, byte[]> all, int first, int images)
    {
        if (with.Count > 0) all[TextDenoiser.Context] = Rows(images, i => without.Count > 0 ? without[(first + i) % without.Count] : null, i => with[(first + i) % with.Count]);
        if (beside is not null) all[LatentDenoiser.Beside] = Rows(images, _ => beside, _ => beside);
    }

    // The branch that guidance leads away from comes first.
    private byte[] Rows(int images, Func<int, float[]?> none, Func<int, float[]> some)
    {
        using var bytes = new MemoryStream();
        for (int i = 0; guided && i < images; i++) bytes.Write(MemoryMarshal.AsBytes(none(i).AsSpan()));
        for (int i = 0; i < images; i++) bytes.Write(MemoryMarshal.AsBytes(some(i).AsSpan()));
        return bytes.ToArray();
    }

    private void Contexts(GenerateRequest request, ConditionStage stage, ConditionEncoder encoder, MemoryBudget budget, Action<string>? note)
    {
        if (request.Tokens.Count > 0)
        {
            foreach (int[] tokens in request.Tokens) with.Add(encoder.Encode(tokens, budget));
            if (guided && request.NegativeTokens.Count == 0) without.Add(encoder.Encode(null, budget));
            foreach (int[] tokens in request.NegativeTokens) without.Add(encoder.Encode(tokens, budget));
            return;
        }

        switch (stage.Kind)
        {
            case ConditionKind.Text:
                with.Add(encoder.Encode(Text(request.Prompt, "prompt"), budget));
                if (guided) without.Add(encoder.Encode(Text(request.Negative ?? "", "negative prompt"), budget));
                else if (request.Negative is not null) note?.Invoke("the negative prompt has no effect without guidance");
                break;
            case ConditionKind.Class:
                int none = model.Classes!.NullClass ?? 0;
                int[] classes = request.Classes.Count > 0 ? [.. request.Classes] : [none];
                foreach (int c in classes) with.Add(encoder.Encode([c], budget));
                if (guided) without.Add(encoder.Encode(stage.ZeroForNone ? null : [none], budget));
                break;
            default:
                with.Add(encoder.Encode(request.Layout is { } layout ? stage.Layout!.Encode(layout) : null, budget));
                if (guided) without.Add(encoder.Encode(null, budget));
                break;
        }

        int[] Text(string text, string what)
        {
            var (ids, lost) = stage.Tokenizer!.Encode(text, stage.Length);
            Conditioning.SayCut(note, what, lost);
            return ids;
        }
    }

    // The image without what the mask covers, as a latent, and the mask at the latent's size in [-1, 1].
    private float[] MaskedImage(GeneratePipeline pipeline, GenerateRequest request, int height, int width, MemoryBudget budget)
    {
        float[] image = Conditioning.Signed(request.Init!.Values);
        for (int i = 0; i < image.Length; i++)
            if (request.Mask!.Values[i / model.ImageChannels] >= 0.5f) image[i] = -1;
        float[] latent = pipeline.Latent(image, height, width, budget), mask = Conditioning.Shrunk(request.Mask!, model.Factor);
        int channels = latent.Length / mask.Length;
        var all = new float[mask.Length * (channels + 1)];
        for (int p = 0; p < mask.Length; p++)
        {
            latent.AsSpan(p * channels, channels).CopyTo(all.AsSpan(p * (channels + 1)));
            all[p * (channels + 1) + channels] = 2 * mask[p] - 1;
        }

        return all;
    }
}
