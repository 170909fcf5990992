namespace DiffusionCore.Runtime;

/// <summary>
/// The meaning of a graph: every operation in double precision by the plainest loop that says what it is. The oracle of the tests,
/// and the definition that implementations are held to. Slow on purpose.
/// </summary>
public static partial class Interpreter
{
    /// <summary>Evaluates every node. <paramref name="inputs"/> holds the graph's inputs by name, row-major.</summary>
    /// <returns>Every named output.</returns>
    public static Dictionary<string, double[]> Run(Graph graph, IReadOnlyDictionary<string, double[]> inputs)
    {
        var all = RunAll(graph, inputs);
        return graph.Outputs.ToDictionary(o => o.Name, o => all[o.Id]);
    }

    /// <summary>The value of every node, by id.</summary>
    public static double[][] RunAll(Graph graph, IReadOnlyDictionary<string, double[]> inputs)
    {
        var values = new double[graph.Nodes.Count][];
        foreach (var node in graph.Nodes)
        {
            values[node.Id] = node.Op switch
            {
                InputOp input => inputs.TryGetValue(input.InputName, out var given) && given.Length == node.Type.Shape.Count
                    ? given
                    : throw new ArgumentException($"input '{input.InputName}' {node.Type} is not given in that shape", nameof(inputs)),
                WeightOp weight => ReadWeight(weight.Source),
                ConstantOp constant => Array.ConvertAll(constant.Data, v => (double)v),
                _ => Evaluate(node.Op, Array.ConvertAll(node.Inputs, i => new Tensor(graph.Nodes[i].Type, values[i])), node.Type),
            };
        }

        return values;
    }

    /// <summary>One operation on given operands.</summary>
    public static double[] Evaluate(Op op, ReadOnlySpan<TensorType> types, ReadOnlySpan<double[]> operands)
    {
        var x = new Tensor[types.Length];
        for (int i = 0; i < x.Length; i++) x[i] = new Tensor(types[i], operands[i]);
        return Evaluate(op, x, op.Infer(types));
    }

    /// <summary>A weight's numbers, exact.</summary>
    public static double[] ReadWeight(IWeightSource source)
    {
        var bytes = new byte[source.Type.Bytes];
        source.Read(bytes);
        return FromBytes(bytes, source.Type.DType);
    }

    /// <summary>Numbers of a little-endian tensor, exact.</summary>
    public static double[] FromBytes(ReadOnlySpan<byte> bytes, DType type)
    {
        var y = new double[bytes.Length / type.Size()];
        for (int i = 0; i < y.Length; i++)
        {
            var at = bytes[(i * type.Size())..];
            y[i] = type switch
            {
                DType.F32 => BitConverter.ToSingle(at),
                DType.F64 => BitConverter.ToDouble(at),
                DType.F16 => (double)BitConverter.ToHalf(at),
                DType.BF16 => BitConverter.Int32BitsToSingle(BitConverter.ToUInt16(at) << 16),
                DType.I32 => BitConverter.ToInt32(at),
                DType.I64 => BitConverter.ToInt64(at),
                DType.I8 => (sbyte)at[0],
                DType.U8 => at[0],
                DType.Bool => at[0] == 0 ? 0 : 1,
                _ => throw new NotSupportedException($"{type} has no interpretation yet"),
            };
        }

        return y;
    }

    /// <summary>Stores numbers in a type, rounded as <see cref="Round"/> says.</summary>
    public static void ToBytes(ReadOnlySpan<double> x, DType type, Span<byte> dst)
    {
        for (int i = 0; i < x.Length; i++)
        {
            double v = Round(x[i], type);
            var at = dst[(i * type.Size())..];
            switch (type)
            {
                case DType.F32: BitConverter.TryWriteBytes(at, (float)v); break;
                case DType.F64: BitConverter.TryWriteBytes(at, v); break;
                case DType.F16: BitConverter.TryWriteBytes(at, (Half)v); break;
                case DType.BF16: BitConverter.TryWriteBytes(at, (ushort)(BitConverter.SingleToUInt32Bits((float)v) >> 16)); break;
                case DType.I32: BitConverter.TryWriteBytes(at, (int)v); break;
                case DType.I64: BitConverter.TryWriteBytes(at, v >= long.MaxValue ? long.MaxValue : (long)v); break;
                case DType.I8: at[0] = (byte)(sbyte)v; break;
                case DType.U8 or DType.Bool: at[0] = (byte)v; break;
                default: throw new NotSupportedException($"{type} cannot be stored yet");
            }
        }
    }

    private readonly record struct Tensor(TensorType Type, double[] Data)
    {
        public Shape Shape => Type.Shape;
    }

    private static double[] Evaluate(Op op, Tensor[] x, TensorType y) => op switch
    {
        FusedOp fused => Fused(fused, x),
        LinearOp linear => Linear(linear, x, y.Shape),
        MatMulOp matMul => MatMul(matMul, x, y.Shape),
        Conv2dOp conv => Conv2d(conv, x, y.Shape),
        AttentionOp attention => Attention(attention, x, y.Shape),
        GroupNormOp norm => GroupNorm(norm, x),
        GroupNormGradientOp norm => GroupNormGradient(norm, x),
        LayerNormOp norm => LayerNorm(norm, x),
        RmsNormOp norm => RmsNorm(norm, x),
        SoftmaxOp => Softmax(x[0]),
        UnaryOp unary => Array.ConvertAll(x[0].Data, v => Apply(unary.Function, v)),
        BinaryOp binary => Combine(binary.Function, x, y.Shape),
        AffineOp affine => Array.ConvertAll(x[0].Data, v => affine.A * v + affine.B),
        CastOp cast => Array.ConvertAll(x[0].Data, v => Round(v, cast.To)),
        ReshapeOp => x[0].Data,
        TransposeOp transpose => Gather(y.Shape, x[0], at => Permuted(at, transpose.Axes)),
        ConcatOp concat => Concat(concat.Axis, x, y.Shape),
        SliceOp slice => Gather(y.Shape, x[0], at => [.. at.Select((i, a) => slice.Start[a] + i * slice.Step[a])]),
        PadOp pad => Pad(pad, x[0], y.Shape),
        ExpandOp => Gather(y.Shape, x[0], at => [.. at[(at.Length - x[0].Shape.Rank)..].Select((i, a) => x[0].Shape[a] == 1 ? 0 : i)]),
        EmbeddingOp => Embedding(x),
        UpsampleNearestOp => Gather(y.Shape, x[0], at => [at[0], at[1] * x[0].Shape[1] / y.Shape[1], at[2] * x[0].Shape[2] / y.Shape[2], at[3]]),
        AveragePoolOp pool => AveragePool(pool, x[0], y.Shape),
        FirResampleOp fir => FirResample(fir, x[0], y.Shape),
        SinusoidalEmbeddingOp embedding => Sinusoidal(embedding, x[0]),
        FourierEmbeddingOp embedding => Fourier(embedding, x),
        NearestCodeOp => NearestCode(x),
        GroupMomentsOp moments => GroupMoments(moments, x),
        GivenGroupNormOp norm => GivenGroupNorm(norm, x),
        MaxPoolOp pool => MaxPool(pool, x[0], y.Shape),
        ResizeOp resize => Resize(resize, x[0], y.Shape),
        ConvTranspose2dOp conv => ConvTranspose2d(conv, x, y.Shape),
        PickTokenOp pick => PickToken(pick, x),
        TokenMatchOp match => TokenMatch(match, x[0]),
        TokenMergeOp merge => TokenMerge(merge, x, y.Shape),
        TokenUnmergeOp unmerge => TokenUnmerge(unmerge, x, y.Shape),
        _ => throw new NotSupportedException($"{op.Name} has no reference"),
    };

    private static double[] Fused(FusedOp op, Tensor[] x)
    {
        var (graph, result) = op.Expand(Array.ConvertAll(x, t => t.Type));
        var inputs = new Dictionary<string, double[]>();
        for (int i = 0; i < x.Length; i++) inputs[$"x{i}"] = x[i].Data;
        return RunAll(graph, inputs)[result.Id];
    }

    private static double[] Linear(LinearOp op, Tensor[] x, Shape y)
    {
        long n = x[1].Shape[0], k = x[1].Shape[1];
        var r = new double[y.Count];
        for (long i = 0; i < r.LongLength; i++)
        {
            long row = i / n, o = i % n;
            double sum = op.Bias ? x[2].Data[o] : 0;
            for (long c = 0; c < k; c++) sum += x[0].Data[row * k + c] * x[1].Data[o * k + c];
            r[i] = sum;
        }

        return r;
    }

    private static double[] MatMul(MatMulOp op, Tensor[] x, Shape y)
    {
        Shape a = x[0].Shape, b = x[1].Shape;
        long inner = op.TransposeA ? a[-2] : a[-1];
        return Fill(y, at =>
        {
            long m = at[^2], n = at[^1];
            long baseA = Leading(a, at), baseB = Leading(b, at);
            double sum = 0;
            for (long k = 0; k < inner; k++)
                sum += x[0].Data[baseA + (op.TransposeA ? k * a[-1] + m : m * a[-1] + k)] * x[1].Data[baseB + (op.TransposeB ? n * b[-1] + k : k * b[-1] + n)];
            return sum;
        });

        static long Leading(Shape s, long[] at)
        {
            long offset = 0;
            for (int axis = 0; axis < s.Rank - 2; axis++)
            {
                long i = at[at.Length - s.Rank + axis];
                offset = offset * s[axis] + (s[axis] == 1 ? 0 : i);
            }

            return offset * s[-1] * s[-2];
        }
    }

    private static double[] Conv2d(Conv2dOp op, Tensor[] x, Shape y)
    {
        Shape s = x[0].Shape, w = x[1].Shape;
        long perGroup = w[0] / op.Groups;
        return Fill(y, at =>
        {
            long first = at[3] / perGroup * w[1];
            double sum = op.Bias ? x[2].Data[at[3]] : 0;
            for (long i = 0; i < w[2]; i++)
            {
                long r = at[1] * op.StrideH - op.PadTop + i * op.DilationH;
                if (r < 0 || r >= s[1]) continue;
                for (long j = 0; j < w[3]; j++)
                {
                    long c = at[2] * op.StrideW - op.PadLeft + j * op.DilationW;
                    if (c < 0 || c >= s[2]) continue;
                    for (long k = 0; k < w[1]; k++)
                        sum += x[0].Data[((at[0] * s[1] + r) * s[2] + c) * s[3] + first + k] * x[1].Data[((at[3] * w[1] + k) * w[2] + i) * w[3] + j];
                }
            }

            return sum;
        });
    }

    private static double[] Attention(AttentionOp op, Tensor[] x, Shape y)
    {
        Shape q = x[0].Shape, k = x[1].Shape, v = x[2].Shape;
        long d = q[2] / op.Heads, e = v[2] / op.Heads;
        var mask = op.Mask ? Gather(new Shape(q[0], op.Heads, q[1], k[1]), x[3], at => [.. at[(4 - x[3].Shape.Rank)..].Select((i, a) => x[3].Shape[a] == 1 ? 0 : i)]) : null;
        var r = new double[y.Count];
        var p = new double[k[1]];
        for (long b = 0; b < q[0]; b++)
        {
            for (long h = 0; h < op.Heads; h++)
            {
                for (long i = 0; i < q[1]; i++)
                {
                    double top = double.NegativeInfinity, total = 0;
                    for (long j = 0; j < k[1]; j++)
                    {
                        double dot = 0;
                        for (long c = 0; c < d; c++) dot += x[0].Data[(b * q[1] + i) * q[2] + h * d + c] * x[1].Data[(b * k[1] + j) * k[2] + h * d + c];
                        p[j] = op.Causal && j > i ? double.NegativeInfinity : dot * op.Scale + (mask?[((b * op.Heads + h) * q[1] + i) * k[1] + j] ?? 0);
                        top = Math.Max(top, p[j]);
                    }

                    if (double.IsNegativeInfinity(top)) continue;   // no key is visible: the row is zero
                    for (long j = 0; j < k[1]; j++) total += p[j] = Math.Exp(p[j] - top);
                    for (long j = 0; j < k[1]; j++)
                        for (long c = 0; c < e; c++) r[(b * q[1] + i) * v[2] + h * e + c] += p[j] / total * x[2].Data[(b * k[1] + j) * v[2] + h * e + c];
                }
            }
        }

        return r;
    }

    private static double[] GroupNorm(GroupNormOp op, Tensor[] x)
    {
        var s = x[0].Shape;
        long channels = s[-1], pixels = s.Count / (s[0] * channels), width = channels / op.Groups;
        var r = new double[s.Count];
        for (long n = 0; n < s[0]; n++)
        {
            for (long g = 0; g < op.Groups; g++)
            {
                double sum = 0, square = 0, count = pixels * width;
                Each(i => sum += x[0].Data[i]);
                double mean = sum / count;
                Each(i => square += (x[0].Data[i] - mean) * (x[0].Data[i] - mean));
                double inverse = 1 / Math.Sqrt(square / count + op.Epsilon);
                Each(i => r[i] = (x[0].Data[i] - mean) * inverse * (op.Affine ? x[1].Data[i % channels] : 1) + (op.Affine ? x[2].Data[i % channels] : 0));

                void Each(Action<long> action)
                {
                    for (long p = 0; p < pixels; p++)
                        for (long c = 0; c < width; c++) action((n * pixels + p) * channels + g * width + c);
                }
            }
        }

        return r;
    }

    private static double[] LayerNorm(LayerNormOp op, Tensor[] x)
    {
        long channels = x[0].Shape[-1];
        var r = new double[x[0].Shape.Count];
        for (long at = 0; at < r.LongLength; at += channels)
        {
            var row = x[0].Data.AsSpan((int)at, (int)channels);
            double mean = 0, square = 0;
            foreach (double v in row) mean += v / channels;
            foreach (double v in row) square += (v - mean) * (v - mean) / channels;
            for (int c = 0; c < channels; c++)
                r[at + c] = (row[c] - mean) / Math.Sqrt(square + op.Epsilon) * (op.Affine ? x[1].Data[c] : 1) + (op.Affine ? x[2].Data[c] : 0);
        }

        return r;
    }

    private static double[] Softmax(Tensor x)
    {
        long n = x.Shape[-1];
        var r = new double[x.Data.Length];
        for (long at = 0; at < r.LongLength; at += n)
        {
            double top = double.NegativeInfinity, total = 0;
            for (long i = 0; i < n; i++) top = Math.Max(top, x.Data[at + i]);
            for (long i = 0; i < n; i++) total += r[at + i] = Math.Exp(x.Data[at + i] - top);
            for (long i = 0; i < n; i++) r[at + i] /= total;
        }

        return r;
    }
}
