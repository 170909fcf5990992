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
        if (head.StartsWith("PK\x03\x04"u8)) return $"is a zip archive, as PyTorch's .pt, .ckpt and .bin checkpoints are, not safetensors; {Convert}";
        if (head[0] == 0x80 && head.Length > 1 && head[1] is >= 2 and <= 5 && !LooksLikeHeader(head)) return $"is a Python pickle (an older PyTorch checkpoint), not safetensors; {Convert}";
        if (head.StartsWith("GGUF"u8)) return "is a GGUF file; this version reads safetensors only: use the safetensors release of the model";
        if (head.StartsWith("version https://git-lfs"u8)) return "is a Git LFS pointer, not the file itself; fetch it with: git lfs pull";
        if (head.StartsWith("\x89PNG"u8) || head.StartsWith("\xFF\xD8\xFF"u8)) return "is an image, not safetensors";
        if (head.Length > 1 && head[0] == 0x1F && head[1] == 0x8B) return "is a gzip archive; unpack it first";
        if (head.StartsWith("\x89HDF"u8)) return "is an HDF5 file, not safetensors";
        string text = Encoding.Latin1.GetString(head[..Math.Min(head.Length, 256)]).TrimStart('\uFEFF', ' ', '\r', '\n', '\t', 'ï', '»', '¿');
        if (text.StartsWith("<!doctype", StringComparison.OrdinalIgnoreCase) || text.StartsWith("<html", StringComparison.OrdinalIgnoreCase) || text.StartsWith("<?xml", StringComparison.OrdinalIgnoreCase))
            return "is a web page, probably an error or login page saved in place of the download; download the file again";
        return null;
    }

    private static bool LooksLikeHeader(ReadOnlySpan<byte> head) => head.Length > 8 && head[8] == '{';
}
