using System.Runtime.CompilerServices;
using ILGPU;

namespace DiffusionCore.Kernels;

/// <summary>What is done to a product before it is stored, in this order: + bias, + channel vector, activation, + residual, * scale.</summary>
public struct Epilogue
{
    /// <summary>1 where the operand is there; its view is then read.</summary>
    public int Bias, Channel, Residual;

    /// <summary>Rows of one image: the channel vector changes with the image.</summary>
    public int RowsPerImage;

    /// <summary>A <see cref="Function"/> that may stand in an epilogue.</summary>
    public int Activation;

    public float Scale;

    /// <summary>Finishes and stores a register tile; rows and columns past the end are dropped.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(
        Epilogue e, Tile4x4 tile, int row, int column, int rows, int columns,
        ArrayView<float> bias, ArrayView<float> channel, ArrayView<float> residual, ArrayView<float> y)
    {
        for (int i = 0; i < Tiles.ProductRows; i++)
        {
            var sums = Tile4x4.Row(tile, i);
            for (int j = 0; j < Tiles.ProductColumns; j++)
            {
                if (row + i < rows && column + j < columns)
                    y[(row + i) * columns + column + j] = Finish(e, Float4.Get(sums, j), row + i, column + j, columns, bias, channel, residual);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Finish(Epilogue e, float v, int row, int column, int columns, ArrayView<float> bias, ArrayView<float> channel, ArrayView<float> residual)
    {
        if (e.Bias != 0) v += bias[column];
        if (e.Channel != 0) v += channel[row / e.RowsPerImage * columns + column];
        v = Function.Activate(e.Activation, v);
        if (e.Residual != 0) v += residual[row * columns + column];
        return v * e.Scale;
    }
}
