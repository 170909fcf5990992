// Numbers for synthetic weights: each one a function of the tensor's key and its place, so blocks are made in any order on any thread.
//
//   h = mix(mix(place + low key) ^ high key);  value = center + reach*(h - 2^31)/2^31
//   mix(x): x ^= x >> 16, x *= 7FEB352D, x ^= x >> 15, x *= 846CA68B, x ^= x >> 16   (a bijection of 32 bits)
//
// Work split  the caller's blocks; eight lanes at a time.
// Numerics    one conversion, one multiplication and one addition per value, then one rounding to the stored type: the same on every machine.
// Roofline    2 bytes written per value, about 25 integer operations: faster than a disk takes them on one core.
using System.Runtime.Intrinsics;
using System.Text;

namespace DiffusionCore.Synthesis;

/// <summary>Deterministic weights: the same name and seed give the same numbers on every machine.</summary>
internal static unsafe class SynthNumbers
{
    private const float Unit = 1f / (1u << 31);

    /// <summary>A tensor's key: FNV-1a of its full name, stirred with the seed.</summary>
    public static ulong Key(string name, ulong seed)
    {
        ulong h = 0xCBF29CE484222325;
        foreach (byte b in Encoding.UTF8.GetBytes(name)) h = (h ^ b) * 0x100000001B3;
        h ^= seed * 0x9E3779B97F4A7C15;
        h = (h ^ (h >> 30)) * 0xBF58476D1CE4E5B9;
        h = (h ^ (h >> 27)) * 0x94D049BB133111EB;
        return h ^ (h >> 31);
    }

    /// <summary>Values [first, first + dst.Length) of a tensor.</summary>
    public static void Fill(ulong key, long first, float center, float reach, Span<float> dst)
    {
        var low = Vector256.Create((uint)key);
        var high = Vector256.Create((uint)(key >> 32));
        var scale = Vector256.Create(reach * Unit);
        var middle = Vector256.Create(center);
        var place = Vector256.Create((uint)first) + Vector256.Create(0u, 1, 2, 3, 4, 5, 6, 7);
        var step = Vector256.Create(8u);
        fixed (float* d = dst)
        {
            int i = 0;
            for (; i + 8 <= dst.Length; i += 8, place += step) One(place, low, high, scale, middle).Store(d + i);
            if (i == dst.Length) return;
            var last = One(place, low, high, scale, middle);
            for (int k = 0; i + k < dst.Length; k++) d[i + k] = last[k];
        }
    }

    private static Vector256<float> One(Vector256<uint> place, Vector256<uint> low, Vector256<uint> high, Vector256<float> scale, Vector256<float> middle)
    {
        var h = Mix(Mix(place + low) ^ high);
        return (Vector256.ConvertToSingle(h.AsInt32()) * scale) + middle;
    }

    private static Vector256<uint> Mix(Vector256<uint> x)
    {
        x = (x ^ (x >>> 16)) * Vector256.Create(0x7FEB352Du);
        x = (x ^ (x >>> 15)) * Vector256.Create(0x846CA68Bu);
        return x ^ (x >>> 16);
    }
}
