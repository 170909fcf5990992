using DiffusionCore.Noise;

namespace DiffusionCore.Tests.Noise;

/// <summary>A path that does not depend on how it is asked, with the moments of Brownian motion.</summary>
public sealed class BrownianTreeTests
{
    private const double Start = 0.03, End = 14.6;

    [Fact]
    public void The_path_is_the_same_whatever_the_steps()
    {
        const int Elements = 7;
        double[] few = Steps(4), many = Steps(64);
        var coarse = new BrownianTree(9, Start, End, Elements);
        var fine = new BrownianTree(9, Start, End, Elements);
        for (int i = 0; i + 1 < few.Length; i++)
        {
            double[] one = new double[Elements], sum = new double[Elements], part = new double[Elements];
            coarse.Increment(few[i], few[i + 1], one);
            foreach (var (from, to) in many.Zip(many.Skip(1)).Where(p => p.First <= few[i] && p.Second >= few[i + 1]))
            {
                fine.Increment(from, to, part);
                for (int k = 0; k < Elements; k++) sum[k] += part[k] * Math.Sqrt(from - to);
            }

            for (int k = 0; k < Elements; k++) Assert.Equal(one[k] * Math.Sqrt(few[i] - few[i + 1]), sum[k], 1e-12);
        }

        static double[] Steps(int n) => [.. Enumerable.Range(0, n + 1).Select(i => i == n ? Start : End - (End - Start) * i / n)];
    }

    [Fact]
    public void The_order_of_the_questions_does_not_matter()
    {
        double[] times = [0.5, 3, 14.6, 0.03, 2.9999, 7.1, 3, 0.5];
        var forward = new BrownianTree(4, Start, End, 5);
        var answers = times.Distinct().ToDictionary(t => t, t => new BrownianTree(4, Start, End, 5).At(t).ToArray());
        foreach (double t in times) Assert.Equal(answers[t], forward.At(t).ToArray());
        Assert.Equal(new double[5], forward.At(Start).ToArray());
        Assert.NotEqual(answers[3], new BrownianTree(5, Start, End, 5).At(3).ToArray());
    }

    [Fact]
    public void An_element_is_the_same_whatever_their_number() =>
        Assert.Equal(new BrownianTree(4, Start, End, 100).At(1.7)[..9].ToArray(), new BrownianTree(4, Start, End, 9).At(1.7).ToArray());

    [Fact]
    public void Increments_are_standard_normal_and_correlate_as_the_path_says()
    {
        const int Elements = 100_000;
        var tree = new BrownianTree(1, Start, End, Elements);
        // An inner interval, the whole that holds it, and one beside it.
        double[] inner = Draw(10, 6), whole = Draw(10, 2), beside = Draw(1.5, 1.49);
        foreach (double[] z in (double[][])[inner, whole, beside])
        {
            Assert.Equal(0, Mean(z, _ => 1, 1), 0.015);
            Assert.Equal(1, Mean(z, v => v, 1), 0.02);
            Assert.Equal(3, Mean(z, v => v * v * v, 1), 0.15);
            Assert.Equal(0.682689, z.Count(v => Math.Abs(v) < 1) / (double)Elements, 0.006);
        }

        Assert.Equal(Math.Sqrt(0.5), Enumerable.Range(0, Elements).Average(i => inner[i] * whole[i]), 0.015);      // overlap 4 of 4 and 8
        Assert.Equal(0, Enumerable.Range(0, Elements).Average(i => beside[i] * whole[i]), 0.015);
        Assert.Equal(0, Enumerable.Range(0, Elements - 1).Average(i => whole[i] * whole[i + 1]), 0.015);

        double[] Draw(double from, double to)
        {
            var z = new double[Elements];
            tree.Increment(from, to, z);
            return z;
        }

        static double Mean(double[] z, Func<double, double> weight, double power) => z.Average(v => weight(v) * v * power);
    }

    [Fact]
    public void Times_outside_the_path_are_refused()
    {
        var tree = new BrownianTree(1, Start, End, 1);
        Assert.Throws<ArgumentOutOfRangeException>(() => tree.At(15).Length);
        Assert.Throws<ArgumentOutOfRangeException>(() => tree.At(0).Length);
        Assert.Throws<ArgumentOutOfRangeException>(() => new BrownianTree(1, 2, 2, 1));
    }
}
