using DiffusionCore.Guidance;
using DiffusionCore.Runtime;

namespace DiffusionCore.Samplers;

/// <summary>Runs a plan in double on the host with any function as the network: the definition that the fused step is held to, and what tests drive.</summary>
public static class HostSampler
{
    /// <param name="x">The first latents [image][element], already scaled; they are not changed.</param>
    /// <param name="network">
    /// (input, time) to prediction; the input is InputScale * x. Where the network also predicts the variance it returns twice as many numbers,
    /// for each image the prediction and then the variance.
    /// </param>
    /// <param name="noise">Called once per evaluation that draws noise; fills its argument.</param>
    /// <param name="path">Called in place of <paramref name="noise"/> where the noise belongs to an interval of a Brownian path (from, to, z).</param>
    /// <param name="unconditional">The other branch of guidance, u + guidance*(network - u); null where there is none.</param>
    /// <param name="perturbed">The third branch, for plans that are led away from it.</param>
    /// <param name="images">Images in x; a dynamic threshold belongs to one image.</param>
    /// <param name="after">Called after each update with the evaluation and the new latents.</param>
    /// <param name="known">The image of which a part is given, for plans that say Known.</param>
    /// <param name="mask">1 where it is given, 0 where not.</param>
    public static double[] Run(
        SamplerPlan plan, double[] x, Func<double[], double, double[]> network, Action<double[]>? noise = null, int images = 1, Action<Evaluation, double[]>? after = null,
        Action<double, double, double[]>? path = null, double[]? known = null, double[]? mask = null, Func<double[], double, double[]>? unconditional = null, double guidance = 1,
        Func<double[], double, double[]>? perturbed = null)
    {
        x = (double[])x.Clone();
        int elements = x.Length / images;
        var slots = new double[plan.Slots][];
        var z = new double[x.Length];
        double[] conditional = [];
        double[]? other = null, third = null;
        var running = new double[plan.Form?.Projected is null ? 0 : x.Length];
        var run = plan.Start();
        for (var e = run.Next(double.NaN); e is not null; e = run.Next(Measured(e, x, slots)))
        {
            double[] input = Array.ConvertAll(x, v => e.InputScale * v);
            if (e.Evaluates) (conditional, other, third) = (network(input, e.Time), unconditional?.Invoke(input, e.Time), perturbed?.Invoke(input, e.Time));
            double[] output = !e.Evaluates && !e.Rereads ? new double[x.Length] : conditional;
            double[] m = Half(output, x.Length, elements, 0), variance = Half(output, x.Length, elements, 1);
            double[]? u = other is null ? null : Half(other, x.Length, elements, 0), p = third is null ? null : Half(third, x.Length, elements, 0);
            double scale = e.Guidance?.Of(guidance) ?? guidance, away = plan.Form?.Perturbed is { } f ? e.PerturbedScale ?? f.Scale : 0;
            bool projects = plan.Form?.Projected is not null && u is not null && scale != 1 && (e.Evaluates || e.Rereads);
            if (!projects && (e.Evaluates || e.Rereads)) m = Guided(plan.Form, m, u, p, scale, away, images);
            var numbers = e.Evaluates || e.Rereads ? e.Reading ?? StepNumbers.Of(plan.Prediction, e.Alpha, e.Sigma) : default;
            var denoised = new double[x.Length];
            var epsilon = new double[x.Length];
            for (int i = 0; i < x.Length; i++)
            {
                denoised[i] = numbers.A0 * x[i] + numbers.B0 * m[i];
                epsilon[i] = numbers.A1 * x[i] + numbers.B1 * m[i];
            }

            if (projects) Project(plan.Form!.Projected!, numbers, x, m, u!, scale, images, running, denoised, epsilon);
            for (int image = 0; image < images && (e.Evaluates || e.Rereads); image++) Clip(plan, denoised.AsSpan(image * elements, elements));
            if (plan.ClipRederivesEpsilon && plan.Clips)
            {
                for (int i = 0; i < x.Length; i++) epsilon[i] = numbers.P * x[i] + numbers.Q * denoised[i];
            }

            if (e.DrawsNoise && e.NoiseInterval is { } interval && path is not null) path(interval.From, interval.To, z);
            else for (int k = 0; e.DrawsNoise && k <= e.UnusedDraws; k++) noise?.Invoke(z);
            double[]? langevin = e.LangevinRatio > 0 ? LangevinSizes(plan, e, epsilon, z, images) : null;
            var next = new double[x.Length];
            for (int i = 0; i < x.Length; i++)
            {
                double size = langevin is null ? 1 : langevin[i / elements], deviation = langevin is null ? Deviation(e, variance, i) : Math.Sqrt(2 * size);
                next[i] = e.X * x[i] + e.D * denoised[i] + size * e.E * epsilon[i] + (e.DrawsNoise ? e.N * deviation * z[i] : 0);
                foreach (var term in e.History) next[i] += term.Coefficient * slots[term.Slot][i];
                if (e.Known is { } level) next[i] = (1 - mask![i]) * next[i] + mask[i] * (level.Signal * known![i] + level.Noise * z[i]);
            }

            if (e.Keep != Kept.None) slots[e.KeepSlot] = e.Keep switch { Kept.Denoised => denoised, Kept.Epsilon => epsilon, _ => x };
            if (e.SampleSlot >= 0) slots[e.SampleSlot] = x;
            if (e.Target is { } target) slots[target] = next;
            else x = next;
            after?.Invoke(e, x);
        }

        return x;
    }

    // u + w(c - u) + s(c - p), rescaled; each image by itself.
    private static double[] Guided(GuidanceForm? form, double[] conditional, double[]? unconditional, double[]? perturbed, double scale, double away, int images)
    {
        if (unconditional is null && (perturbed is null || away == 0)) return conditional;
        var guided = (double[])conditional.Clone();
        if (unconditional is not null) GuidanceMath.Plain(conditional, unconditional, scale, guided);
        for (int i = 0; perturbed is not null && i < guided.Length; i++) guided[i] += away * (conditional[i] - perturbed[i]);
        if (form is null || form.Rescale == 0 || unconditional is null) return guided;
        int elements = guided.Length / images;
        for (int image = 0; image < images; image++)
        {
            var one = guided.AsSpan(image * elements, elements);
            double factor = GuidanceMath.RescaleFactor(Moments.Of(conditional.AsSpan(image * elements, elements)), Moments.Of(one), form.Rescale);
            foreach (ref double v in one) v *= factor;
        }

        return guided;
    }

    // Projected guidance on the denoised estimates of both branches; eps follows.
    private static void Project(ProjectedGuidance form, StepNumbers numbers, double[] x, double[] conditional, double[] unconditional, double scale, int images, double[] running, double[] denoised, double[] epsilon)
    {
        int elements = x.Length / images;
        double[] c = [.. x.Select((v, i) => numbers.A0 * v + numbers.B0 * conditional[i])], u = [.. x.Select((v, i) => numbers.A0 * v + numbers.B0 * unconditional[i])];
        for (int first = 0; first < x.Length; first += elements)
            form.Guide(c.AsSpan(first, elements), u.AsSpan(first, elements), scale, running.AsSpan(first, elements), denoised.AsSpan(first, elements));
        for (int i = 0; i < x.Length; i++) epsilon[i] = numbers.P * x[i] + numbers.Q * denoised[i];
    }

    private static double Measured(Evaluation e, double[] x, double[][] slots) =>
        e.Measure is { } m ? m.Of<double>(x, slots[m.Slot], slots[m.Reference]) : double.NaN;

    private static void Clip(SamplerPlan plan, Span<double> denoised)
    {
        if (!plan.Clips) return;
        double bound = plan.Clip, divisor = 1;
        if (plan.ThresholdRatio > 0)
        {
            var sorted = new double[denoised.Length];
            for (int i = 0; i < sorted.Length; i++) sorted[i] = Math.Abs(denoised[i]);
            Array.Sort(sorted);
            double at = plan.ThresholdRatio * (sorted.Length - 1);
            int below = (int)at;
            double quantile = sorted[below] + (below + 1 < sorted.Length ? (at - below) * (sorted[below + 1] - sorted[below]) : 0);
            bound = divisor = Math.Min(Math.Max(quantile, 1), plan.ThresholdMaximum);
        }

        foreach (ref double v in denoised) v = Math.Clamp(v, -bound, bound) / divisor;
    }

    // Song et al. 2021, algorithm 4: twice the square of r*|noise|/|eps|.
    private static double[] LangevinSizes(SamplerPlan plan, Evaluation e, double[] epsilon, double[] z, int images)
    {
        int elements = z.Length / images;
        double[] norms = Norms(z), gradients = Norms(epsilon);
        return [.. norms.Zip(gradients, (n, g) => 2 * (e.LangevinRatio * n / g) * (e.LangevinRatio * n / g))];

        double[] Norms(double[] v)
        {
            double[] each = [.. Enumerable.Range(0, images).Select(i => Math.Sqrt(v.Skip(i * elements).Take(elements).Sum(a => a * a)))];
            return plan.BatchNorms ? [.. each.Select(_ => each.Average())] : each;
        }
    }

    private static double Deviation(Evaluation e, double[] variance, int i)
    {
        if (e.LearnedVariance is not { } bounds) return 1;
        double share = (variance[i] + 1) / 2;
        return Math.Exp(0.5 * (share * bounds.Maximum + (1 - share) * bounds.Minimum));
    }

    // The prediction (0) or the variance (1) of every image; the whole output where the network predicts no variance.
    private static double[] Half(double[] output, int total, int elements, int which)
    {
        if (output.Length != 2 * total) return output;
        var half = new double[total];
        for (int first = 0; first < total; first += elements) Array.Copy(output, 2 * first + which * elements, half, first, elements);
        return half;
    }
}
