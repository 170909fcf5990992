using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace DiffusionCore.Kernels;

/// <summary>Four floats side by side, one load wide; as a local it is four registers.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct Float4
{
    public float X, Y, Z, W;

    /// <summary>acc + a * v.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4 MultiplyAdd(float a, Float4 v, Float4 acc)
    {
        acc.X = a * v.X + acc.X;
        acc.Y = a * v.Y + acc.Y;
        acc.Z = a * v.Z + acc.Z;
        acc.W = a * v.W + acc.W;
        return acc;
    }

    /// <summary>Element i of four; by comparison, because an indexed local would live in memory.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Get(Float4 v, int i) => i == 0 ? v.X : i == 1 ? v.Y : i == 2 ? v.Z : v.W;
}

/// <summary>A register tile of sums: rows of four columns.</summary>
public struct Tile4x4
{
    public Float4 A, B, C, D;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4 Row(Tile4x4 t, int i) => i == 0 ? t.A : i == 1 ? t.B : i == 2 ? t.C : t.D;
}
