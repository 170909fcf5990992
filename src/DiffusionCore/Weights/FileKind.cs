using System.Buffers.Binary;
using System.Text;

namespace DiffusionCore.Weights;

/// <summary>Tells files that are often given as weights and are not safetensors by their first bytes.</summary>
public static class FileKind
{
    private const string Convert =
        "convert it once, in Python: import torch, safetensors.torch as s; d = torch.load(FILE, map_location='cpu', weights_only=True); s.save_file(d.get('state_dict', d), 'model.safetensors')";

    /// <summary>What the file is and what to do, or null where it may be a safetensors file.</summary>
    /// <param name="head">Up to the first 512 bytes.</param>
    public static string? Sniff(ReadOnlySpan<byte> head, string path)
    {
        if (head.Length == 0) return "is empty";
        if (LooksSound(head)) return null;
        if (head.StartsWith("PK\x03\x04"u8)) return $"is a zip archive, as PyTorch's .pt, .ckpt and .bin checkpoints are, not safetensors; {Convert}";
        if (head[0] == 0x80 && head.Length > 1 && head[1] is >= 2 and <= 5) return $"is a Python pickle (an older PyTorch checkpoint), not safetensors; {Convert}";
        if (head.StartsWith("GGUF"u8)) return "is a GGUF file; this version reads safetensors only: use the safetensors release of the model";
        if (head.StartsWith("version https://git-lfs"u8)) return "is a Git LFS pointer, not the file itself; fetch it with: git lfs pull";
        // As bytes: in a u8 literal, an escape above 7F is a code point and becomes two bytes.
        if (head.StartsWith((ReadOnlySpan<byte>)[0x89, (byte)'P', (byte)'N', (byte)'G']) || head.StartsWith((ReadOnlySpan<byte>)[0xFF, 0xD8, 0xFF])) return "is an image, not safetensors";
        if (head.Length > 1 && head[0] == 0x1F && head[1] == 0x8B) return "is a gzip archive; unpack it first";
        if (head.StartsWith((ReadOnlySpan<byte>)[0x89, (byte)'H', (byte)'D', (byte)'F'])) return "is an HDF5 file, not safetensors";
        string text = Encoding.Latin1.GetString(head[..Math.Min(head.Length, 256)]).TrimStart('\uFEFF', ' ', '\r', '\n', '\t', 'ï', '»', '¿');
        if (text.Length > 1 && text[0] == '<' && (char.IsAsciiLetter(text[1]) || text[1] is '!' or '?'))
            return "is a web page, probably an error or login page saved in place of the download; download the file again";
        if (head.Length >= 262 && head[257..].StartsWith("ustar"u8)) return "is a tar archive; unpack it first";
        if (head.StartsWith((ReadOnlySpan<byte>)[0x93, (byte)'N', (byte)'U', (byte)'M', (byte)'P', (byte)'Y'])) return "is a NumPy array, not safetensors";
        return null;
    }

    // The length of a sound file's header may begin as other files do: 640 is 80 02, like a pickle.
    private static bool LooksSound(ReadOnlySpan<byte> head) =>
        head.Length > SafetensorsHeader.PrefixBytes
        && BinaryPrimitives.ReadUInt64LittleEndian(head) <= SafetensorsHeader.MaximumBytes
        && head[SafetensorsHeader.PrefixBytes..].TrimStart(" \t\r\n"u8).StartsWith("{"u8);
}
