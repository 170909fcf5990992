using System.Runtime.InteropServices;
using DiffusionCore.Runtime;

namespace DiffusionCore.Weights;

/// <summary>Looks for numbers that are none.</summary>
public static class FiniteCheck
{
    private const int PartBytes = 1 << 20;

    /// <exception cref="ModelFileException">Names the first tensor, in the order of the data, with a NaN or an infinity, and the element.</exception>
    public static void Run(Checkpoint checkpoint)
    {
        var part = new byte[PartBytes];
        foreach (string name in checkpoint.Names)
        {
            checkpoint.TryGet(name, out var entry);
            if (entry.Type is not (StorageType.F16 or StorageType.BF16 or StorageType.F32 or StorageType.F64)) continue;
            var file = checkpoint.FileOf(name);
            int size = entry.Type.Bits() / 8;
            for (long start = 0; start < entry.Bytes; start += PartBytes)
            {
                var bytes = part.AsSpan(0, (int)Math.Min(PartBytes, entry.Bytes - start));
                file.ReadPart(entry, start, bytes);
                int bad = First(entry.Type, bytes);
                if (bad < 0) continue;
                long index = start / size + bad;
                throw new ModelFileException(file.Path, name, $"element {index} of {entry.Bytes / size}, at {Position(index, entry.Dims)}, is {Text(entry.Type, bytes[(bad * size)..])}; expected finite numbers");
            }
        }
    }

    // A number is not finite where all bits of its exponent are set.
    private static int First(StorageType type, ReadOnlySpan<byte> bytes) => type switch
    {
        StorageType.F16 => First(MemoryMarshal.Cast<byte, ushort>(bytes), (ushort)0x7C00),
        StorageType.BF16 => First(MemoryMarshal.Cast<byte, ushort>(bytes), (ushort)0x7F80),
        StorageType.F32 => First(MemoryMarshal.Cast<byte, uint>(bytes), 0x7F800000u),
        _ => First(MemoryMarshal.Cast<byte, ulong>(bytes), 0x7FF0000000000000ul),
    };

    private static int First<T>(ReadOnlySpan<T> values, T exponent)
        where T : unmanaged, System.Numerics.IBinaryInteger<T>
    {
        for (int i = 0; i < values.Length; i++)
            if ((values[i] & exponent) == exponent) return i;
        return -1;
    }

    private static string Text(StorageType type, ReadOnlySpan<byte> bytes)
    {
        double v = type switch
        {
            StorageType.F16 => (double)BitConverter.ToHalf(bytes),
            StorageType.BF16 => BitConverter.UInt32BitsToSingle((uint)BitConverter.ToUInt16(bytes) << 16),
            StorageType.F32 => BitConverter.ToSingle(bytes),
            _ => BitConverter.ToDouble(bytes),
        };
        return double.IsNaN(v) ? "NaN" : v > 0 ? "+infinity" : "-infinity";
    }

    private static string Position(long index, long[] dims)
    {
        var at = new long[dims.Length];
        for (int i = dims.Length - 1; i >= 0; i--) (index, at[i]) = Math.DivRem(index, dims[i]);
        return $"[{string.Join(", ", at)}]";
    }
}
