using System.Text;
using DiffusionCore.Runtime;

namespace DiffusionCore.Cli;

/// <summary>Standard output, with errors that say so: the system's own name no file.</summary>
internal sealed class StandardOutput(Stream inner) : Stream
{
    public override bool CanRead => false;

    public override bool CanSeek => false;

    public override bool CanWrite => true;

    public override long Length => throw new NotSupportedException();

    public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }

    public static void Install() => Console.SetOut(new StreamWriter(new StandardOutput(Console.OpenStandardOutput()), new UTF8Encoding(encoderShouldEmitUTF8Identifier: false)) { AutoFlush = true });

    /// <exception cref="FileException">It is closed or full.</exception>
    public override void Write(ReadOnlySpan<byte> buffer)
    {
        try
        {
            inner.Write(buffer);
        }
        catch (UnauthorizedAccessException e)
        {
            throw new FileException("standard output", "cannot be written: it is closed", e);
        }
        catch (IOException e) when (!CommandLine.IsClosedPipe(e))
        {
            throw new FileException("standard output", $"cannot be written: {e.Message}", e);
        }
    }

    public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

    public override void Flush()
    {
    }

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();
}
