using System.Text;

namespace DiffusionCore.Peers;

/// <summary>Writes an ONNX model: the few fields of the protobuf schema (onnx.proto3) that a graph of standard operators needs.</summary>
public sealed class OnnxWriter
{
    /// <summary>Element types by the schema's numbers.</summary>
    public const int Float = 1, Double = 11;

    private const int Int64 = 7, InFile = 1, IrVersion = 9, StandardOpset = 20;
    private readonly Message graph = new();
    private readonly List<Message> initializers = [], inputs = [], outputs = [];
    private int nodes;

    /// <summary>Adds a node and returns the name of its first output.</summary>
    public string Node(string op, string[] operands, string? domain = null, int outputCount = 1, string? result = null, params (string Name, object Value)[] attributes)
    {
        var node = new Message();
        result ??= $"v{nodes}";
        foreach (string operand in operands) node.Text(1, operand);
        for (int i = 0; i < outputCount; i++) node.Text(2, i == 0 ? result : $"{result}_{i}");
        node.Text(3, $"n{nodes++}");
        node.Text(4, op);
        foreach (var (name, value) in attributes)
        {
            var a = new Message();
            a.Text(1, name);
            switch (value)
            {
                case float f:
                    a.Single(2, f);
                    a.Number(20, 1);
                    break;
                case int i:
                    a.Number(3, i);
                    a.Number(20, 2);
                    break;
                case string s:
                    a.Text(4, s);
                    a.Number(20, 3);
                    break;
                case int[] list:
                    foreach (int i in list) a.Number(8, i);
                    a.Number(20, 7);
                    break;
                default:
                    throw new ArgumentException($"attribute {name}");
            }

            node.Nested(5, a);
        }

        if (domain != null) node.Text(7, domain);
        graph.Nested(1, node);
        return result;
    }

    public string Constant(string name, ReadOnlySpan<float> values, params long[] dims)
    {
        var t = Tensor(name, Float, dims);
        t.Bytes(9, System.Runtime.InteropServices.MemoryMarshal.AsBytes(values));
        initializers.Add(t);
        return name;
    }

    public string Doubles(string name, ReadOnlySpan<double> values, params long[] dims)
    {
        var t = Tensor(name, Double, dims);
        t.Bytes(9, System.Runtime.InteropServices.MemoryMarshal.AsBytes(values));
        initializers.Add(t);
        return name;
    }

    public string Shape(string name, params long[] values)
    {
        var t = Tensor(name, Int64, [values.Length]);
        t.Bytes(9, System.Runtime.InteropServices.MemoryMarshal.AsBytes<long>(values));
        initializers.Add(t);
        return name;
    }

    /// <summary>A constant of floats whose bytes are in a file beside the model.</summary>
    public string External(string name, string file, long offset, long bytes, params long[] dims)
    {
        var t = Tensor(name, Float, dims);
        foreach (var (key, value) in new[] { ("location", file), ("offset", $"{offset}"), ("length", $"{bytes}") })
        {
            var entry = new Message();
            entry.Text(1, key);
            entry.Text(2, value);
            t.Nested(13, entry);
        }

        t.Number(14, InFile);
        initializers.Add(t);
        return name;
    }

    public string Input(string name, params long[] dims)
    {
        inputs.Add(Info(name, dims));
        return name;
    }

    public void Output(string name, params long[] dims) => outputs.Add(Info(name, dims));

    public byte[] ToArray()
    {
        graph.Text(2, "g");
        foreach (var t in initializers) graph.Nested(5, t);
        foreach (var i in inputs) graph.Nested(11, i);
        foreach (var o in outputs) graph.Nested(12, o);
        var model = new Message();
        model.Number(1, IrVersion);
        model.Nested(7, graph);
        model.Nested(8, Opset("", StandardOpset));
        model.Nested(8, Opset("com.microsoft", 1));
        return model.ToArray();
    }

    private static Message Opset(string domain, int version)
    {
        var m = new Message();
        m.Text(1, domain);
        m.Number(2, version);
        return m;
    }

    private static Message Tensor(string name, int type, long[] dims)
    {
        var t = new Message();
        foreach (long d in dims) t.Number(1, d);
        t.Number(2, type);
        t.Text(8, name);
        return t;
    }

    private static Message Info(string name, long[] dims)
    {
        Message info = new(), type = new(), tensor = new(), shape = new();
        foreach (long d in dims)
        {
            var dim = new Message();
            dim.Number(1, d);
            shape.Nested(1, dim);
        }

        tensor.Number(1, Float);
        tensor.Nested(2, shape);
        type.Nested(1, tensor);
        info.Text(1, name);
        info.Nested(2, type);
        return info;
    }

    /// <summary>A protobuf message under construction.</summary>
    private sealed class Message
    {
        private readonly MemoryStream stream = new();

        public void Number(int field, long value)
        {
            Varint((ulong)field << 3);
            Varint((ulong)value);
        }

        public void Single(int field, float value)
        {
            Varint((ulong)field << 3 | 5);
            stream.Write(BitConverter.GetBytes(value));
        }

        public void Text(int field, string value) => Bytes(field, Encoding.UTF8.GetBytes(value));

        public void Nested(int field, Message value) => Bytes(field, value.stream.GetBuffer().AsSpan(0, (int)value.stream.Length));

        public void Bytes(int field, ReadOnlySpan<byte> value)
        {
            Varint((ulong)field << 3 | 2);
            Varint((ulong)value.Length);
            stream.Write(value);
        }

        public byte[] ToArray() => stream.ToArray();

        private void Varint(ulong v)
        {
            for (; v >= 128; v >>= 7) stream.WriteByte((byte)(v | 128));
            stream.WriteByte((byte)v);
        }
    }
}
