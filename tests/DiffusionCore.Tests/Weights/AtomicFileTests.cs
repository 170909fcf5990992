using DiffusionCore.Runtime;

namespace DiffusionCore.Tests.Weights;

public class AtomicFileTests
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_failure_half_way_leaves_what_was_there_and_nothing_else(bool there)
    {
        using var folder = new TemporaryFolder();
        string path = folder["out.bin"];
        if (there) folder.Write("out.bin", "before");
        var e = Assert.Throws<FileException>(() => AtomicFile.Write(path, overwrite: true, stream =>
        {
            stream.Write(new byte[200_000]);
            throw new IOException("No space left on device");
        }));
        Assert.Equal(ErrorKind.Io, e.Kind);
        Assert.Contains("out.bin: cannot be written: No space left on device", e.Message, StringComparison.Ordinal);
        Assert.Equal(there ? [path] : Array.Empty<string>(), Directory.GetFileSystemEntries(folder.Path));
        if (there) Assert.Equal("before", File.ReadAllText(path));
    }

    [Fact]
    public void An_error_of_the_caller_passes_and_leaves_nothing()
    {
        using var folder = new TemporaryFolder();
        Assert.Throws<InvalidDataException>(() => AtomicFile.Write(folder["out.bin"], false, _ => throw new InvalidDataException()));
        Assert.Empty(Directory.GetFileSystemEntries(folder.Path));
    }

    [Fact]
    public void The_target_is_not_seen_before_it_is_whole()
    {
        using var folder = new TemporaryFolder();
        string path = folder["out.bin"];
        AtomicFile.Write(path, false, stream =>
        {
            stream.Write(new byte[100_000]);
            stream.Flush();
            Assert.False(File.Exists(path));
        });
        Assert.Equal(100_000, new FileInfo(path).Length);
        Assert.Equal([path], Directory.GetFileSystemEntries(folder.Path));
    }

    [Fact]
    public void A_folder_an_empty_name_and_a_missing_folder_are_named()
    {
        using var folder = new TemporaryFolder();
        Assert.Contains("is a folder", Message(folder.Path), StringComparison.Ordinal);
        Assert.Contains("does not exist", Message(folder["no/out.bin"]), StringComparison.Ordinal);
        Assert.Contains("empty file name", Message(""), StringComparison.Ordinal);
        Assert.Empty(Directory.GetFileSystemEntries(folder.Path));

        static string Message(string path) => Assert.Throws<FileException>(() => AtomicFile.Write(path, true, _ => { })).Message;
    }

    [Fact]
    public void A_name_as_long_as_the_file_system_allows_is_written()
    {
        using var folder = new TemporaryFolder();
        string path = folder[new string('n', 251) + ".bin"];
        AtomicFile.Write(path, false, stream => stream.WriteByte(1));
        Assert.Equal(1, new FileInfo(path).Length);
    }

    [Fact]
    public void A_file_that_appears_meanwhile_is_kept()
    {
        using var folder = new TemporaryFolder();
        string path = folder["out.bin"];
        var e = Assert.Throws<FileException>(() => AtomicFile.Write(path, overwrite: false, _ => folder.Write("out.bin", "other")));
        Assert.Contains("exists already", e.Message, StringComparison.Ordinal);
        Assert.Equal("other", File.ReadAllText(path));
        Assert.Equal([path], Directory.GetFileSystemEntries(folder.Path));
    }

    [Fact]
    public void What_a_killed_run_left_half_written_goes_after_a_day_and_nothing_else_does()
    {
        using var folder = new TemporaryFolder();
        string[] kept = [folder.Write(".dcore-recent.tmp", "x"), folder.Write(".other.tmp", "x"), folder.Write("dcore-1.png", "x"), folder.Write(".dcore-old.png", "x")];
        foreach (string old in kept[1..].Append(folder.Write(".dcore-old.tmp", "x"))) File.SetLastWriteTimeUtc(old, DateTime.UtcNow.AddHours(-25));
        AtomicFile.CheckFolder(folder["out.bin"]);
        Assert.Equal(kept.Order(StringComparer.Ordinal), Directory.GetFiles(folder.Path).Order(StringComparer.Ordinal));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Of_many_that_write_one_file_at_once_one_is_whole(bool overwrite)
    {
        using var folder = new TemporaryFolder();
        string path = folder["out.bin"];
        using var together = new Barrier(8);
        int written = 0, refused = 0;
        var threads = Enumerable.Range(0, 8).Select(i => new Thread(() =>
        {
            try
            {
                AtomicFile.Write(path, overwrite, stream =>
                {
                    together.SignalAndWait();
                    for (int k = 0; k < 100; k++) stream.Write(Enumerable.Repeat((byte)i, 1000).ToArray());
                });
                Interlocked.Increment(ref written);
            }
            catch (FileException e) when (e.Message.Contains("exists already", StringComparison.Ordinal))
            {
                Interlocked.Increment(ref refused);
            }
        })).ToArray();
        foreach (var thread in threads) thread.Start();
        foreach (var thread in threads) thread.Join();
        Assert.Equal(overwrite ? (8, 0) : (1, 7), (written, refused));
        byte[] file = File.ReadAllBytes(Assert.Single(Directory.GetFiles(folder.Path)));
        Assert.Equal(100_000, file.Length);
        Assert.Single(file.Distinct());
    }

    [Fact]
    public void Devices_are_written_to_and_not_replaced()
    {
        if (!File.Exists("/dev/null") || !File.Exists("/dev/full")) return;
        AtomicFile.Write("/dev/null", overwrite: false, stream => stream.Write(new byte[10]));
        var e = Assert.Throws<FileException>(() => AtomicFile.Write("/dev/full", overwrite: true, stream => stream.Write(new byte[10])));
        Assert.Contains("/dev/full: cannot be written", e.Message, StringComparison.Ordinal);
        Assert.Equal(0, new FileInfo("/dev/full").Length);
        Assert.Equal(0, new FileInfo("/dev/null").Length);
    }
}
