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

    /// <summary>Calls of different sizes and contexts without a pause: a worker that is late for one must not take an item of it from the next.</summary>
    [Fact]
    public void Each_of_many_short_calls_runs_its_own_items_once()
    {
        using var pool = new WorkerPool(4);
        int* counts = stackalloc int[64];
        for (int call = 0; call < 20_000; call++)
        {
            int items = 1 + call * 7 % 64;
            new Span<int>(counts, 64).Clear();
            pool.For(items, &Count, counts);
            for (int i = 0; i < 64; i++) Assert.Equal(i < items ? 1 : 0, counts[i]);
        }

        static void Count(void* state, int item, int worker) => Interlocked.Increment(ref ((int*)state)[item]);
    }

    [Fact]
    public void Calls_from_several_threads_take_turns()
    {
        using var pool = new WorkerPool(3);
        Parallel.For(0, 8, _ =>
        {
            int sum = 0;
            for (int call = 0; call < 500; call++) pool.For(17, &Add, &sum);
            Assert.Equal(500 * 17 * 16 / 2, sum);
        });

        static void Add(void* state, int item, int worker) => Interlocked.Add(ref *(int*)state, item);
    }
}
