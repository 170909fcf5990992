using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Models;

/// <summary>
/// The residual block of NVlabs/edm (Karras et al. 2022).
/// <code>
/// x --norm0.SiLU--[resample]--conv0--(+ affine)--norm1.SiLU--conv1--(+)--(* s)--[norm2.qkv.attention.proj--(+)--(* s)]--> y
/// +--[resample]--[skip]-------------------------------------------+
/// </code>
/// x: [N, H, W, inputs], y: [N, H', W', outputs]. The score networks add the embedding and scale every sum by s = sqrt(1/2); the other kind scales and
/// shifts the second norm by it, and s is 1.
/// </summary>
internal sealed class EdmBlock
{
    private const int GroupsAtMost = 32;
    private const int ChannelsPerGroup = 4;
    private const int ChannelsPerHead = 64;

    private readonly bool song;
    private readonly BlockResample resample;
    private readonly FirFilter filter;
    private readonly Norm norm0;
    private readonly Conv conv0;
    private readonly Linear affine;
    private readonly Norm norm1;
    private readonly Conv conv1;
    private readonly Conv? skip;
    private readonly QkvAttention? attention;

    public EdmBlock(WeightScope w, EdmConfig config, int inputs, int outputs, bool attends = false, BlockResample resample = BlockResample.None)
    {
        this.resample = resample;
        song = config.Song;
        filter = new(config.Filter);
        Inputs = inputs;
        double epsilon = Epsilon(config);
        norm0 = NormOf(w.At("norm0"), inputs, epsilon);
        conv0 = new(w.At("conv0"), inputs, outputs, 3);
        affine = new(w.At("affine"), config.EmbeddingChannels, song ? outputs : 2 * outputs);
        norm1 = NormOf(w.At("norm1"), outputs, epsilon);
        conv1 = new(w.At("conv1"), outputs, outputs, 3);
        bool resampled = resample != BlockResample.None;
        if (inputs != outputs || (resampled && song)) skip = new(w.At("skip"), inputs, outputs, 1);
        if (resampled)
        {
            // The filter is an argument; the files repeat it as a buffer.
            w.Ignore("conv0.resample_filter");
            w.Ignore("skip.resample_filter");
        }

        // The other kind counts heads by channels, and has no attention at all where there are too few for one.
        int heads = !attends ? 0 : song ? 1 : outputs / ChannelsPerHead;
        if (heads == 0) return;
        if (outputs % heads != 0) throw w.Error($"{heads} heads do not divide {outputs} channels");
        attention = new(NormOf(w.At("norm2"), outputs, epsilon), QkvProjection.Of(w.At("qkv"), outputs, heads, QkvOrder.HeadChannelPart), new(w.At("proj"), outputs, outputs), outputs, heads, Scale);
    }

    public int Inputs { get; }

    private double Scale => song ? Math.Sqrt(0.5) : 1;

    public static double Epsilon(EdmConfig config) => config.Song ? 1e-6 : 1e-5;

    public static Norm NormOf(WeightScope w, int channels, double epsilon) => new(w, channels, Math.Min(GroupsAtMost, channels / ChannelsPerGroup), epsilon);

    /// <param name="emb">[N, EmbeddingChannels], activated.</param>
    public Value Record(Graph g, Value x, Value emb)
    {
        var h = filter.Resample(g, g.Silu(norm0.Record(g, x)), resample);
        h = conv0.Record(g, h);
        x = filter.Resample(g, x, resample);
        var p = affine.Record(g, emb);
        p = g.Reshape(p, p.Shape[0], 1, 1, p.Shape[1]);
        if (song)
        {
            h = norm1.Record(g, g.Plus(h, p));
        }
        else
        {
            long half = p.Shape[3] / 2;
            h = g.Plus(g.Times(norm1.Record(g, h), g.Affine(g.Slice(p, 3, 0, half), 1, 1)), g.Slice(p, 3, half, half));
        }

        h = g.Affine(g.Plus(conv1.Record(g, g.Silu(h)), skip is null ? x : skip.Record(g, x)), Scale);
        return attention is null ? h : attention.Record(g, h);
    }
}
