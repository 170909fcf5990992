namespace DiffusionCore.Runtime;

/// <summary>How a value between pixels is made.</summary>
public enum ResizeMode
{
    Nearest,
    Linear,

    /// <summary>Keys' cubic convolution over four pixels.</summary>
    Cubic,
}

/// <summary>Where an output position lies in the input.</summary>
public enum ResizeCoordinates
{
    /// <summary>Pixels are areas: x = (i + 1/2)/scale - 1/2.</summary>
    HalfPixel,

    /// <summary>As HalfPixel, keeping the middle where scale * input is not whole.</summary>
    HalfPixelSymmetric,

    /// <summary>As HalfPixel; x = 0 where the output has one pixel.</summary>
    HalfPixelOrZero,

    /// <summary>The first and last pixels of both lie on each other: x = i (input - 1)/(output - 1).</summary>
    AlignCorners,

    /// <summary>x = i/scale.</summary>
    Asymmetric,
}

/// <summary>Which pixel is nearest.</summary>
public enum ResizeRounding
{
    PreferFloor,
    PreferCeiling,
    Floor,
    Ceiling,
}

/// <summary>
/// Separable resize, channels last. x: [N, H, W, C], y: [N, OutHeight, OutWidth, C]. Pixels beyond the edge repeat it, or are left out of the
/// weights where ExcludeOutside is set. Antialias widens the filter where the image gets smaller.
/// </summary>
/// <param name="ScaleH">Output over input; 0 takes it from the heights. Resizing by a factor keeps the factor even where heights are rounded.</param>
/// <param name="CubicA">Keys' coefficient: -0.75 in torch, -0.5 in PIL.</param>
public sealed record ResizeOp(
    int OutHeight, int OutWidth, ResizeMode Mode, ResizeCoordinates Coordinates = ResizeCoordinates.HalfPixel, double ScaleH = 0, double ScaleW = 0,
    ResizeRounding Rounding = ResizeRounding.PreferFloor, double CubicA = -0.75, bool ExcludeOutside = false, bool Antialias = false) : Op
{
    public override string Name => "resize_" + Mode.ToString().ToLowerInvariant();

    public override TensorType Infer(ReadOnlySpan<TensorType> x)
    {
        Operands(x, 1);
        Require(x[0].Shape.Rank == 4 && x[0].Shape[1] > 0 && x[0].Shape[2] > 0 && OutHeight > 0 && OutWidth > 0, "x [N, H, W, C] and a size are needed", x);
        Require(ScaleH >= 0 && ScaleW >= 0 && double.IsFinite(ScaleH) && double.IsFinite(ScaleW), "scales must be positive, or 0 for the ratio of the sizes", x);
        return new TensorType(new Shape(x[0].Shape[0], OutHeight, OutWidth, x[0].Shape[3]), DType.F32);
    }

    public override Cost Cost(ReadOnlySpan<TensorType> x, TensorType y)
    {
        double taps = 1;
        foreach (var (input, output, scale) in new[] { (x[0].Shape[1], OutHeight, ScaleH), (x[0].Shape[2], OutWidth, ScaleW) }) taps *= 2 * Support(Ratio(input, output, scale)) + (Mode == ResizeMode.Nearest ? 1 : 0);
        return new(2 * taps * y.Shape.Count, Traffic(x, y));
    }

    internal static double Ratio(long input, int output, double scale) => scale > 0 ? scale : (double)output / input;

    /// <summary>Pixels to each side of a position that its value is made of.</summary>
    internal double Support(double scale)
    {
        int reach = Mode switch { ResizeMode.Nearest => 0, ResizeMode.Linear => 1, _ => 2 };
        return Antialias && scale < 1 ? reach / scale : reach;
    }

    /// <summary>The position of output <paramref name="i"/> among the input's pixels.</summary>
    internal double Position(long i, long input, int output, double scale)
    {
        double extent = scale * input;
        return Coordinates switch
        {
            ResizeCoordinates.HalfPixelSymmetric => input / 2.0 * (1 - output / extent) + (i + 0.5) / scale - 0.5,
            ResizeCoordinates.HalfPixelOrZero when output == 1 => 0,
            ResizeCoordinates.AlignCorners => extent == 1 ? 0 : i * (input - 1) / (extent - 1),
            ResizeCoordinates.Asymmetric => i / scale,
            _ => (i + 0.5) / scale - 0.5,
        };
    }

    /// <summary>The filter at a distance in (filter) pixels.</summary>
    internal double Filter(double distance)
    {
        double d = Math.Abs(distance), a = CubicA;
        if (Mode == ResizeMode.Linear) return Math.Max(0, 1 - d);
        return d <= 1 ? ((a + 2) * d - (a + 3)) * d * d + 1 : d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0;
    }

    internal double Round(double position) => Rounding switch
    {
        ResizeRounding.PreferFloor => Math.Ceiling(position - 0.5),
        ResizeRounding.PreferCeiling => Math.Floor(position + 0.5),
        ResizeRounding.Floor => Math.Floor(position),
        _ => Math.Ceiling(position),
    };
}
