using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Kernels.Tests;

public unsafe class WorkerPoolTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(5)]
    public void Every_item_runs_once_and_the_worker_number_is_in_range(int threads)
    {
        using var pool = new WorkerPool(threads);
        var counts = new int[1000];
        fixed (int* p = counts)
        {
            for (int round = 0; round < 50; round++)
            {
                pool.For(counts.Length, &Count, p);
                if (round % 10 == 9) Thread.Sleep(2);
            }
        }

        Assert.All(counts, c => Assert.Equal(50, c));

        static void Count(void* state, int item, int worker)
        {
            if (worker is >= 0 and < 5) Interlocked.Increment(ref ((int*)state)[item]);
        }
    }

    [Fact]
    public void A_disposed_pool_says_so()
    {
        var pool = new WorkerPool(2);
        pool.Dispose();
        pool.Dispose();
        Assert.Throws<ObjectDisposedException>(() => pool.For(2, &Nothing, null));

        static void Nothing(void* state, int item, int worker)
        {
        }
    }
}
