namespace DiffusionCore.Cli;

/// <summary>One sampler with one budget of evaluations, measured.</summary>
/// <param name="Asked">Evaluations of the network for one image, at most.</param>
/// <param name="Evaluations">What the sampler took of them.</param>
/// <param name="Seconds">Per image: the fastest batch's.</param>
/// <param name="Agreement">Share of images that the classifier puts in their class.</param>
internal sealed record FrechetCell(string Sampler, int Asked, int Evaluations, int Images, double Distance, double Seconds, double Agreement)
{
    /// <summary>Those that no other one beats in both time and distance, by rising time.</summary>
    public static List<FrechetCell> Front(IEnumerable<FrechetCell> cells)
    {
        var front = new List<FrechetCell>();
        foreach (var cell in cells.OrderBy(c => c.Seconds).ThenBy(c => c.Distance))
            if (front.Count == 0 || cell.Distance < front[^1].Distance) front.Add(cell);
        return front;
    }
}
