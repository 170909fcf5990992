using System.Buffers.Binary;
using System.Globalization;
using System.Text;
using DiffusionCore.Weights;

namespace DiffusionCore.Fuzz;

/// <summary>Headers of safetensors files: sound ones, with their lengths, offsets, names and JSON changed.</summary>
public sealed class SafetensorsTarget : FuzzTarget
{
    private static readonly string[] Names = ["w", "conv_in.weight", "a.b.c", "猫", "🐈.w", "with space", "q\\\"uote", "line\\nfeed", "\\u0041", "__metadata_", "x'y"];
    private static readonly StorageType[] Types = Enum.GetValues<StorageType>();

    public override string Name => "safetensors";

    public override byte[] Make(Draw draw)
    {
        var json = new StringBuilder("{");
        if (draw.OneIn(3)) json.Append("\"__metadata__\":{\"format\":\"pt\",\"note\":\"é\\n\"},");
        int tensors = draw.Between(0, 5);
        long offset = 0;
        for (int t = 0; t < tensors; t++)
        {
            var type = draw.Of(Types);
            var dims = new long[draw.Between(0, 4)];
            for (int d = 0; d < dims.Length; d++) dims[d] = draw.OneIn(12) ? 0 : draw.Between(1, 4);
            if (type.Bits() % 8 != 0) dims = [.. dims, 4];
            long bytes = dims.Aggregate((long)type.Bits(), (a, d) => a * d) / 8;
            string name = draw.Of(Names) + (draw.OneIn(20) ? "" : t.ToString(CultureInfo.InvariantCulture));
            json.Append(CultureInfo.InvariantCulture, $"\"{name}\":{{\"dtype\":\"{type.FileName()}\",\"shape\":[{string.Join(',', dims)}],\"data_offsets\":[{offset},{offset + bytes}]}},");
            offset += bytes;
        }

        if (json[^1] == ',') json.Length--;
        json.Append('}');
        json.Append(' ', draw.Below(9));
        byte[] header = draw.OneIn(5) ? Encoding.UTF8.GetBytes(json.ToString()) : JsonMutator.Damage(json.ToString(), draw);
        ulong announced = draw.OneIn(12) ? ByteMutator.Number(draw) : (ulong)(header.Length + (draw.OneIn(12) ? draw.Between(-9, 9) : 0));
        int data = (int)Math.Max(0, offset + (draw.OneIn(12) ? draw.Between(-9, 9) : 0));
        var file = new byte[8 + header.Length + data];
        BinaryPrimitives.WriteUInt64LittleEndian(file, announced);
        header.CopyTo(file, 8);
        draw.Bytes(data).CopyTo(file, 8 + header.Length);
        return draw.OneIn(12) ? ByteMutator.Damage(file, draw) : file;
    }

    public override object Parse(byte[] input)
    {
        // As an open file does it: the first bytes, then the header, each only after its length was checked.
        long header = SafetensorsHeader.Length("x.safetensors", input.AsSpan(0, Math.Min(512, input.Length)), input.Length);
        byte[] json = input.AsSpan(SafetensorsHeader.PrefixBytes, (int)header).ToArray();
        return SafetensorsHeader.Parse("x.safetensors", json, input.Length);
    }

    public override void RoundTrip(byte[] input, object parsed)
    {
        var (tensors, metadata) = ((Dictionary<string, TensorEntry> Tensors, Dictionary<string, string> Metadata))parsed;
        byte[] written = SafetensorsWriter.ToArray(tensors.Values.Select(t => new TensorData(t.Name, t.Type, t.Dims, input.AsMemory((int)t.Offset, (int)t.Bytes))), metadata);
        var (again, texts) = ((Dictionary<string, TensorEntry> Tensors, Dictionary<string, string> Metadata))Parse(written);
        if (again.Count != tensors.Count || !texts.OrderBy(t => t.Key, StringComparer.Ordinal).SequenceEqual(metadata.OrderBy(t => t.Key, StringComparer.Ordinal))) throw new RoundTripException("other tensors or metadata");
        foreach (var (name, was) in tensors)
        {
            var now = again[name];
            if (now.Type != was.Type || !now.Dims.SequenceEqual(was.Dims) || !written.AsSpan((int)now.Offset, (int)now.Bytes).SequenceEqual(input.AsSpan((int)was.Offset, (int)was.Bytes)))
                throw new RoundTripException($"{was} became {now}");
        }
    }
}
