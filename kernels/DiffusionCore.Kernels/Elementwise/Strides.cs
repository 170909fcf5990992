using System.Runtime.CompilerServices;

namespace DiffusionCore.Kernels;

/// <summary>A walk over up to six axes with two strides per axis, by value. Axis 0 is the outermost; unused leading axes have extent 1.</summary>
public struct Strides
{
    public const int Rank = 6;

    public int E1, E2, E3, E4, E5;
    public int A0, A1, A2, A3, A4, A5;
    public int B0, B1, B2, B3, B4, B5;

    /// <summary>Where an element lies in each operand.</summary>
    public struct Pair
    {
        public int A, B;
    }

    /// <param name="extents">At most six; strides alike. In elements; 0 broadcasts, negative walks back.</param>
    public static Strides Create(ReadOnlySpan<long> extents, ReadOnlySpan<long> a, ReadOnlySpan<long> b)
    {
        var (e, s, t) = (Padded(extents, 1), Padded(a, 0), Padded(b, 0));
        return new Strides
        {
            E1 = e[1], E2 = e[2], E3 = e[3], E4 = e[4], E5 = e[5],
            A0 = s[0], A1 = s[1], A2 = s[2], A3 = s[3], A4 = s[4], A5 = s[5],
            B0 = t[0], B1 = t[1], B2 = t[2], B3 = t[3], B4 = t[4], B5 = t[5],
        };

        static int[] Padded(ReadOnlySpan<long> values, int fill)
        {
            var r = new int[Rank];
            Array.Fill(r, fill);
            for (int i = 0; i < values.Length; i++) r[Rank - values.Length + i] = checked((int)values[i]);
            return r;
        }
    }

    /// <summary>Offsets of the element with a row-major index.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Pair Offsets(Strides s, int index)
    {
        int q = index / s.E5, i = index - q * s.E5;
        var p = default(Pair);
        p.A = i * s.A5;
        p.B = i * s.B5;
        index = q;
        q = index / s.E4;
        i = index - q * s.E4;
        p.A += i * s.A4;
        p.B += i * s.B4;
        index = q;
        q = index / s.E3;
        i = index - q * s.E3;
        p.A += i * s.A3;
        p.B += i * s.B3;
        index = q;
        q = index / s.E2;
        i = index - q * s.E2;
        p.A += i * s.A2;
        p.B += i * s.B2;
        index = q;
        q = index / s.E1;
        i = index - q * s.E1;
        p.A += i * s.A1 + q * s.A0;
        p.B += i * s.B1 + q * s.B0;
        return p;
    }
}
