using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Models;

/// <summary>
/// Group normalisation that a map may modulate pixel by pixel (Park et al. 2019).
/// <code>
/// x --param_free_norm--(* (1 + gamma))--(+ beta)--> y
/// map--nearest--mlp_shared.0.ReLU--+-mlp_gamma, mlp_beta
/// </code>
/// x, y: [k*N, H, W, C], map: [N, H', W', M]: image i of x is modulated by image i mod N of the map (both branches of guidance share one). What follows
/// from the map alone has the map's rate. Without map channels it is a plain group norm.
/// </summary>
public sealed class SpadeNorm
{
    private const int Hidden = 128;

    private readonly Norm norm;
    private readonly Conv? shared;
    private readonly Conv? gamma;
    private readonly Conv? beta;

    /// <param name="mapChannels">M; 0 for a plain norm, whose names are weight and bias.</param>
    public SpadeNorm(WeightScope w, int channels, int groups, double epsilon, int mapChannels = 0)
    {
        norm = new(mapChannels > 0 ? w.At("param_free_norm") : w, channels, groups, epsilon);
        if (mapChannels == 0) return;
        shared = new(w.At("mlp_shared.0"), mapChannels, Hidden, 3);
        gamma = new(w.At("mlp_gamma"), Hidden, channels, 3);
        beta = new(w.At("mlp_beta"), Hidden, channels, 3);
    }

    /// <param name="map">Null: the plain norm.</param>
    public Value Record(Graph g, Value x, Value? map)
    {
        var y = norm.Record(g, x);
        if (shared is null || map is not { } m) return y;
        if (m.Shape[1] != x.Shape[1] || m.Shape[2] != x.Shape[2]) m = g.UpsampleNearest(m, checked((int)x.Shape[1]), checked((int)x.Shape[2]));
        m = g.Unary(Unary.Relu, shared.Record(g, m));
        Value scale = g.Affine(gamma!.Record(g, m), 1, 1), shift = beta!.Record(g, m);
        long images = m.Shape[0], height = x.Shape[1];
        if (x.Shape[0] == images || images == 1) return g.Plus(g.Times(y, scale), shift);
        // Images below each other: k of them against one.
        long[] all = [x.Shape[0] / images, images * height, x.Shape[2], x.Shape[3]], one = [1, .. all[1..]];
        return g.Reshape(g.Plus(g.Times(g.Reshape(y, all), g.Reshape(scale, one)), g.Reshape(shift, one)), x.Shape.ToArray());
    }
}
