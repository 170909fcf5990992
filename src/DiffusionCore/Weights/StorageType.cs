using DiffusionCore.Runtime;

namespace DiffusionCore.Weights;

/// <summary>Every element type that the safetensors format knows; the engine computes with a subset.</summary>
public enum StorageType
{
    Bool,
    F4,
    F6E2M3,
    F6E3M2,
    U8,
    I8,
    F8E5M2,
    F8E4M3,
    F8E8M0,
    F8E4M3Fnuz,
    F8E5M2Fnuz,
    I16,
    U16,
    F16,
    BF16,
    I32,
    U32,
    F32,
    C64,
    F64,
    I64,
    U64,
}

public static class StorageTypes
{
    // In the order of the format's own enumeration: it decides how a writer sorts tensors.
    private static readonly (string Name, StorageType Type, int Bits)[] Table =
    [
        ("BOOL", StorageType.Bool, 8), ("F4", StorageType.F4, 4), ("F6_E2M3", StorageType.F6E2M3, 6), ("F6_E3M2", StorageType.F6E3M2, 6),
        ("U8", StorageType.U8, 8), ("I8", StorageType.I8, 8), ("F8_E5M2", StorageType.F8E5M2, 8), ("F8_E4M3", StorageType.F8E4M3, 8),
        ("F8_E8M0", StorageType.F8E8M0, 8), ("F8_E4M3FNUZ", StorageType.F8E4M3Fnuz, 8), ("F8_E5M2FNUZ", StorageType.F8E5M2Fnuz, 8),
        ("I16", StorageType.I16, 16), ("U16", StorageType.U16, 16), ("F16", StorageType.F16, 16), ("BF16", StorageType.BF16, 16),
        ("I32", StorageType.I32, 32), ("U32", StorageType.U32, 32), ("F32", StorageType.F32, 32), ("C64", StorageType.C64, 64),
        ("F64", StorageType.F64, 64), ("I64", StorageType.I64, 64), ("U64", StorageType.U64, 64),
    ];

    /// <summary>Bits of one element.</summary>
    public static int Bits(this StorageType type) => Table[(int)type].Bits;

    /// <summary>The name in a file's header.</summary>
    public static string FileName(this StorageType type) => Table[(int)type].Name;

    internal static bool TryParse(string name, out StorageType type)
    {
        foreach (var row in Table)
        {
            if (row.Name != name) continue;
            type = row.Type;
            return true;
        }

        type = default;
        return false;
    }

    /// <summary>The engine's type, or null where it does not compute with this one.</summary>
    public static DType? ToDType(this StorageType type) => type switch
    {
        StorageType.F32 => DType.F32,
        StorageType.F64 => DType.F64,
        StorageType.F16 => DType.F16,
        StorageType.BF16 => DType.BF16,
        StorageType.I8 => DType.I8,
        StorageType.I32 => DType.I32,
        StorageType.I64 => DType.I64,
        StorageType.U8 => DType.U8,
        StorageType.Bool => DType.Bool,
        _ => null,
    };

    public static StorageType FromDType(DType type) => type switch
    {
        DType.F32 => StorageType.F32,
        DType.F64 => StorageType.F64,
        DType.F16 => StorageType.F16,
        DType.BF16 => StorageType.BF16,
        DType.F8E4M3 => StorageType.F8E4M3,
        DType.I8 => StorageType.I8,
        DType.I32 => StorageType.I32,
        DType.I64 => StorageType.I64,
        DType.U8 => StorageType.U8,
        _ => StorageType.Bool,
    };
}
