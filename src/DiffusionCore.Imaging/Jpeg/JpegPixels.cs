namespace DiffusionCore.Imaging.Jpeg;

/// <summary>From coefficients to pixels: inverse transform, upsampling, colours. Upsampling and colours follow libjpeg, the reference of the field.</summary>
internal static class JpegPixels
{
    // cos((2x+1) u pi/16) / 2, times sqrt(1/2) for u = 0 (T.81, A.3.3); [u][x].
    private static readonly float[] Basis = [.. Enumerable.Range(0, 64).Select(i => (float)(0.5 * (i / 8 == 0 ? Math.Sqrt(0.5) : 1) * Math.Cos((2 * (i % 8) + 1) * (i / 8) * Math.PI / 16)))];

    /// <summary>Samples of a component, [row][column] of its whole blocks.</summary>
    public static byte[] Transform(Component c, ushort[] quantization)
    {
        int stride = c.Stride * 8;
        var samples = new byte[stride * c.Rows * 8];
        Span<float> rows = stackalloc float[64];
        for (int by = 0; by < c.Rows; by++)
        {
            for (int bx = 0; bx < c.Stride; bx++)
            {
                var block = c.Block(by, bx);
                if (block[1..].IndexOfAnyExcept((short)0) < 0)
                {
                    // An even block, as the sums below would give it.
                    byte even = Byte((int)MathF.Round(128 + Basis[0] * (Basis[0] * (float)(block[0] * quantization[0]))));
                    for (int y = 0; y < 8; y++) samples.AsSpan((by * 8 + y) * stride + bx * 8, 8).Fill(even);
                    continue;
                }

                rows.Clear();
                for (int i = 0; i < 64; i++)
                {
                    if (block[i] == 0) continue;
                    float v = (float)(block[i] * quantization[i]);
                    for (int x = 0; x < 8; x++) rows[(i & ~7) + x] += v * Basis[(i & 7) * 8 + x];
                }

                for (int y = 0; y < 8; y++)
                {
                    var to = samples.AsSpan((by * 8 + y) * stride + bx * 8, 8);
                    for (int x = 0; x < 8; x++)
                    {
                        float sum = 128;
                        for (int v = 0; v < 8; v++) sum += Basis[v * 8 + y] * rows[v * 8 + x];
                        to[x] = Byte((int)MathF.Round(sum));
                    }
                }
            }
        }

        return samples;
    }

    /// <summary>One row of a component at the picture's full size.</summary>
    /// <param name="across">The picture's samples for one of the component, across; and down.</param>
    public static void Row(Component c, byte[] samples, int y, int across, int down, Span<byte> to)
    {
        int stride = c.Stride * 8, near = y / down;
        var row = samples.AsSpan(near * stride, c.Width);
        // A triangle filter for the common halves, where libjpeg has one; else the sample is repeated.
        bool smoothAcross = across == 2 && down <= 2 && c.Width > 2, smoothDown = down == 2 && (smoothAcross || across == 1);
        int other = Math.Clamp(y % 2 == 0 ? near - 1 : near + 1, 0, c.Height - 1);
        var far = smoothDown ? samples.AsSpan(other * stride, c.Width) : row;
        if (!smoothAcross)
        {
            int bias = y % 2 == 0 ? 1 : 2;
            for (int x = 0; x < to.Length; x++) to[x] = smoothDown ? (byte)((3 * row[x] + far[x] + bias) >> 2) : row[x / across];
            return;
        }

        for (int x = 0; x < to.Length; x++)
        {
            int at = x / 2, side = x % 2 == 0 ? at - 1 : at + 1;
            if (side < 0 || side == c.Width) side = at;
            if (smoothDown)
            {
                int here = 3 * row[at] + far[at], beside = 3 * row[side] + far[side];
                to[x] = (byte)((3 * here + beside + (x % 2 == 0 ? 8 : 7)) >> 4);
            }
            else
            {
                to[x] = side == at ? row[at] : (byte)((3 * row[at] + row[side] + (x % 2 == 0 ? 1 : 2)) >> 2);
            }
        }
    }

    /// <summary>Y, Cb, Cr to red, green, blue in place (ITU-T T.871), in 16 bits of fraction.</summary>
    public static void ToRgb(Span<byte> y, Span<byte> cb, Span<byte> cr)
    {
        const int Half = 1 << 15, Middle = 128;
        for (int i = 0; i < y.Length; i++)
        {
            int blue = cb[i] - Middle, red = cr[i] - Middle, light = y[i];
            y[i] = Byte(light + ((91881 * red + Half) >> 16));
            cb[i] = Byte(light + ((-22554 * blue - 46802 * red + Half) >> 16));
            cr[i] = Byte(light + ((116130 * blue + Half) >> 16));
        }
    }

    private static byte Byte(int v) => (byte)Math.Clamp(v, byte.MinValue, byte.MaxValue);
}
