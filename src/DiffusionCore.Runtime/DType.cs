namespace DiffusionCore.Runtime;

/// <summary>Element types that the engine stores. Arithmetic is in F32 (F64 in the interpreter) whatever the storage.</summary>
public enum DType
{
    F32,
    F64,
    F16,
    BF16,
    F8E4M3,
    I8,
    I32,
    I64,
    U8,
    Bool,
}

public static class DTypes
{
    /// <summary>Bytes of one element.</summary>
    public static int Size(this DType type) => type switch
    {
        DType.F64 or DType.I64 => 8,
        DType.F32 or DType.I32 => 4,
        DType.F16 or DType.BF16 => 2,
        _ => 1,
    };

    public static bool IsFloat(this DType type) => type is DType.F32 or DType.F64 or DType.F16 or DType.BF16 or DType.F8E4M3;
}
