// softmax(scale q k^T + mask) v, one query per group; the scores are never stored whole.
//
//   q: [B, Q, H*D], k: [B, K, H*D], v: [B, K, H*E], y: [B, Q, H*E]; heads side by side in the channels.
//
// Work split  one group per (image, head, query). Keys come in blocks as long as the group has threads: each thread scores one key, then the
//             threads share the output channels. Every thread finds the block's maximum and sum for itself from shared memory: a tree, a loop of
//             barriers inside the loop over blocks, came out wrong on PoCL 3.1.
// Numerics    online softmax over those blocks (Milakov and Gimelshein 2018): a running maximum and sum; y holds the unscaled sums meanwhile. Block
//             length, hence the order of a sum, is the device's group size. A query that sees no key gives zeros.
// Roofline    2QK(D + E) flops; k and v are read from cache once per query: bound by loads.
// Ladder      v1 this one.  ideas: several queries per group; sums in registers for known head sizes; tensor cores.
using ILGPU;

namespace DiffusionCore.Kernels;

public static class AttentionKernel
{
    public struct Shape
    {
        public int Heads, Queries, Keys, HeadDim, ValueDim;

        /// <summary>1 where query i sees keys 0..i only.</summary>
        public int Causal;

        /// <summary>1 where the additive mask is read; its strides in elements, 0 to broadcast.</summary>
        public int Masked;

        public int MaskBatch, MaskHead, MaskRow, MaskKey;
        public float Scale;
    }

    /// <summary>Launched with one group per query, of at most <see cref="Tiles.Threads"/> threads.</summary>
    [GpuKernel]
    public static void Run(ArrayView<float> q, ArrayView<float> k, ArrayView<float> v, ArrayView<float> mask, ArrayView<float> y, Shape s)
    {
        var shared = SharedMemory.Allocate<float>(Tiles.Threads);
        var weights = SharedMemory.Allocate<float>(Tiles.Threads);
        int thread = Group.IdxX, threads = Group.DimX;
        int query = Grid.IdxX % s.Queries, head = Grid.IdxX / s.Queries % s.Heads, batch = Grid.IdxX / s.Queries / s.Heads;
        int inputs = s.Heads * s.HeadDim, outputs = s.Heads * s.ValueDim;
        int atQ = (batch * s.Queries + query) * inputs + head * s.HeadDim, atK = batch * s.Keys * inputs + head * s.HeadDim;
        int atV = batch * s.Keys * outputs + head * s.ValueDim, atY = (batch * s.Queries + query) * outputs + head * s.ValueDim;
        int atMask = batch * s.MaskBatch + head * s.MaskHead + query * s.MaskRow;
        int visible = s.Causal != 0 && query + 1 < s.Keys ? query + 1 : s.Keys;
        float running = float.NegativeInfinity, sum = 0f;
        for (int c = thread; c < s.ValueDim; c += threads) y[atY + c] = 0f;
        for (int first = 0; first < visible; first += threads)
        {
            int key = first + thread;
            float score = float.NegativeInfinity;
            if (key < visible)
            {
                float dot = 0f;
                int at = atK + key * inputs;
                for (int c = 0; c < s.HeadDim; c++) dot = q[atQ + c] * k[at + c] + dot;
                score = dot * s.Scale;
                if (s.Masked != 0) score += mask[atMask + key * s.MaskKey];
            }

            shared[thread] = score;
            Group.Barrier();
            int count = visible - first < threads ? visible - first : threads;
            float next = running;
            for (int j = 0; j < count; j++) next = shared[j] > next ? shared[j] : next;
            float rescale = running > float.NegativeInfinity ? FloatMath.Exp(running - next) : 0f;
            weights[thread] = next > float.NegativeInfinity ? FloatMath.Exp(score - next) : 0f;
            Group.Barrier();
            sum *= rescale;
            for (int j = 0; j < count; j++) sum += weights[j];
            running = next;
            for (int c = thread; c < s.ValueDim; c += threads)
            {
                float total = y[atY + c] * rescale;
                for (int j = 0; j < count; j++) total = weights[j] * v[atV + (first + j) * outputs + c] + total;
                y[atY + c] = total;
            }

            Group.Barrier();
        }

        float factor = sum > 0f ? 1f / sum : sum == 0f ? 0f : sum;
        for (int c = thread; c < s.ValueDim; c += threads) y[atY + c] *= factor;
    }
}
