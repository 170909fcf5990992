namespace DiffusionCore.Runtime;

/// <summary>
/// How a weight's numbers are stored, beside what they mean: plain elements, or blocks of small integers with a scale each.
/// Plain is one element per block, no scale.
/// </summary>
/// <param name="Element">The type of a plain element, or the type that a block expands to.</param>
/// <param name="Bits">Bits of one stored number.</param>
/// <param name="BlockSize">Numbers that share a scale; 1 for plain storage.</param>
/// <param name="Scale">The type of the scales; null for plain storage.</param>
public sealed record WeightFormat(DType Element, int Bits, int BlockSize, DType? Scale)
{
    public static WeightFormat Plain(DType type) => new(type, type.Size() * 8, 1, null);

    public bool IsPlain => BlockSize == 1 && Scale is null && Bits == Element.Size() * 8;

    public override string ToString() => IsPlain ? Element.ToString() : $"{Bits}-bit blocks of {BlockSize} with {Scale} scales";
}
