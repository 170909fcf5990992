using DiffusionCore.Pipelines;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;
using DiffusionCore.Shortcuts;
using DiffusionCore.Tests.Weights;

namespace DiffusionCore.Tests.Shortcuts;

/// <summary>Shortcuts on the bundled model and on small made-up text models.</summary>
public sealed class ShortcutTests : IDisposable
{
    private const int Steps = 7;

    private static readonly GenerateRequest Garment = new() { Classes = [3], Guidance = 1.5, Seed = 5, Sampler = "ddim", Options = new SamplerOptions { Steps = Steps } };

    private static readonly GenerateRequest Lighthouse = new()
    {
        Prompt = "a lighthouse in fog", Guidance = 5, Seed = 11, Sampler = "ddim", Width = 64, Height = 32, Options = new SamplerOptions { Steps = 4 },
    };

    private static readonly Dictionary<string, ShortcutOptions> All = new(StringComparer.Ordinal)
    {
        ["deepcache"] = new() { DeepCache = new DeepCacheOptions(3) },
        ["deepcache branch 1"] = new() { DeepCache = new DeepCacheOptions(2, 1) },
        ["deepcache quadratic"] = new() { DeepCache = new DeepCacheOptions(2) { Quadratic = true } },
        ["tome"] = new() { Merging = new TokenMergingOptions(0.5, [0, 1, 2]) },
        ["reuse-encoder"] = new() { EncoderKeys = [0, 1, 3] },
        ["tgate"] = new() { GateStep = 2 },
        ["tgate and deepcache"] = new() { GateStep = 1, DeepCache = new DeepCacheOptions(2) },
        ["tgate and reuse-encoder"] = new() { GateStep = 2, EncoderKeys = [0] },
        ["coarse"] = new() { Coarse = new CoarseStepsOptions(1) },
        ["coarse, deepcache and tome"] = new() { Coarse = new CoarseStepsOptions(2), DeepCache = new DeepCacheOptions(2), Merging = new TokenMergingOptions(0.25, [0, 1, 2]) },
    };

    private readonly TemporaryFolder folder = new();

    public static TheoryData<string> Names => [.. All.Keys];

    public static TheoryData<string> NamesWithoutGate => [.. All.Keys.Where(n => !n.Contains("tgate", StringComparison.Ordinal))];

    public void Dispose() => folder.Dispose();

    [Theory]
    [MemberData(nameof(NamesWithoutGate))]
    public void On_the_bundled_model_an_image_depends_neither_on_threads_nor_on_its_companions(string name)
    {
        using var model = ModelFolder.Load(TestModels.Bundled("fashion-ddpm-32"));
        var request = Garment with { Shortcuts = All[name] };
        var together = Make(model, request with { Count = 3, Batch = 2 }, threads: 2);
        Assert.Equal(together[2], Assert.Single(Make(model, request with { Seed = request.Seed + 2 }, threads: 1)));
        Assert.NotEqual(together[0], together[1]);
        Assert.NotEqual(together[0], Make(model, Garment, 2)[0]);
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void On_a_text_model_an_image_depends_neither_on_threads_nor_on_its_companions(string name)
    {
        using var model = ModelFolder.Load(folder.Synthetic("sd-tiny"));
        var request = Lighthouse with { Shortcuts = All[name] };
        var together = Make(model, request with { Count = 3, Batch = 2 }, threads: 2);
        Assert.Equal(together[2], Assert.Single(Make(model, request with { Seed = request.Seed + 2 }, threads: 1)));
        Assert.NotEqual(together[0], Make(model, Lighthouse, 2)[0]);
    }

    [Fact]
    public void A_shortcut_that_leaves_nothing_out_gives_the_same_bytes()
    {
        using var model = ModelFolder.Load(TestModels.Bundled("fashion-ddpm-32"));
        byte[] plain = Make(model, Garment, 2)[0];
        ShortcutOptions[] nothing =
        [
            new() { DeepCache = new DeepCacheOptions(1) },
            new() { Merging = new TokenMergingOptions(0, [0, 1, 2]) },
            new() { Coarse = new CoarseStepsOptions(0) },
            new() { GateStep = Steps },
            new() { EncoderKeys = new EquatableList<int>([.. Enumerable.Range(0, Steps)]) },
        ];
        foreach (var shortcuts in nothing) Assert.Equal(plain, Make(model, Garment with { Shortcuts = shortcuts }, 2)[0]);
    }

    [Fact]
    public void With_all_skips_and_one_interval_the_kept_features_are_those_that_would_be_computed()
    {
        // The network at one time twice: the second evaluation may take everything from the first, and must answer the same.
        using var model = ModelFolder.Load(TestModels.Bundled("fashion-ddpm-32"));
        using var device = new CpuDevice(2);
        var twice = new SamplerOptions { Timesteps = [500, 499] };
        var plain = Evaluate(null);
        for (int branch = 0; branch < 6; branch++) Assert.Equal(plain, Evaluate(new ShortcutOptions { DeepCache = new DeepCacheOptions(2, branch) }));
        Assert.Equal(plain, Evaluate(new ShortcutOptions { EncoderKeys = [0] }));

        float[] Evaluate(ShortcutOptions? shortcuts)
        {
            using var pipeline = new GeneratePipeline(model, device);
            var session = pipeline.Session(Garment with { Options = twice, Shortcuts = shortcuts ?? new ShortcutOptions() }, 1);
            session.Start(new DenoiseStart { Seeds = [9], Guidance = 1.5, Conditioning = new Dictionary<string, byte[]> { ["class_labels"] = [10, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0] } });
            // An update that keeps the latent: X = 1 and nothing else.
            var still = new Evaluation { Time = 500, Alpha = 0.5, Sigma = 0.5, X = 1 };
            session.Evaluate(still);
            session.Evaluate(still with { X = 0, D = 1 });
            return session.Download().ToArray();
        }
    }

    [Fact]
    public void A_short_evaluation_allocates_nothing_and_the_memory_is_planned()
    {
        using var model = ModelFolder.Load(TestModels.Bundled("fashion-ddpm-32"));
        using var device = new CpuDevice(2);
        using var pipeline = new GeneratePipeline(model, device);
        var session = pipeline.Session(Garment with { Options = new SamplerOptions { Steps = 20 }, Shortcuts = All["deepcache"] }, 2);
        session.Start(new DenoiseStart { Seeds = [1, 2], Guidance = 1.5 });
        for (int i = 0; i < 6; i++) session.Evaluate(i);
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 6; i < 15; i++) session.Evaluate(i);
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
        var plain = Garment with { Options = new SamplerOptions { Steps = 20 } };
        long without = pipeline.DenoisingNeeds(plain, 2).Working, with = pipeline.DenoisingNeeds(plain with { Shortcuts = All["deepcache branch 1"] }, 2).Working;
        Assert.True(with > without + 200_000, $"{with} and {without}");
    }

    [Fact]
    public void DeepCache_schedules()
    {
        Assert.Equal([0, 3, 6, 9], Indices(new DeepCacheOptions(3).Whole(10)));
        Assert.Equal([0, 1, 2, 3], Indices(new DeepCacheOptions(1).Whole(4)));
        var quadratic = Indices(new DeepCacheOptions(5) { Quadratic = true, Center = 0.3 }.Whole(50));
        Assert.Equal(0, quadratic[0]);
        Assert.InRange(quadratic.Count, 8, 11);
        // Densest at the centre: the smallest distance lies there, and distances grow from it.
        var distances = quadratic.Zip(quadratic.Skip(1), (a, b) => (At: (a + b) / 2.0, Distance: b - a)).ToArray();
        double at = distances.MinBy(d => d.Distance).At;
        Assert.InRange(at, 8, 22);
        Assert.True(distances[^1].Distance > distances.Min(d => d.Distance));
        Assert.Equal(Indices(new DeepCacheOptions(5).Whole(50)), Indices(new DeepCacheOptions(5) { Quadratic = true, Power = 1 }.Whole(50)));
    }

    [Theory]
    [InlineData("deepcache", "interval=0")]
    [InlineData("deepcache", "branch=1")]
    [InlineData("deepcache", "interval=3,schedule=cubic")]
    [InlineData("deepcache", "interval=3,interval=4")]
    [InlineData("deepcache", "intervall=3")]
    [InlineData("deepcache", "interval")]
    [InlineData("tome", "ratio=0.8")]
    [InlineData("tome", "ratio=nan")]
    [InlineData("tome", "ratio=0.5,levels=a")]
    [InlineData("coarse", "steps=-1")]
    [InlineData("coarse", "steps=2,factor=1")]
    [InlineData("reuse-encoder", "1,2")]
    [InlineData("reuse-encoder", "0,3,3")]
    [InlineData("reuse-encoder", "")]
    public void A_value_that_cannot_be_read_is_named(string option, string text)
    {
        string message = Assert.Throws<UsageException>(() =>
        {
            object? parsed = option switch
            {
                "deepcache" => DeepCacheOptions.Parse(text),
                "tome" => TokenMergingOptions.Parse(text),
                "coarse" => CoarseStepsOptions.Parse(text),
                _ => ShortcutOptions.ParseKeys(text),
            };
        }).Message;
        Assert.StartsWith(option + ":", message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', message);
    }

    [Fact]
    public void A_shortcut_that_does_not_fit_the_network_is_refused_with_what_it_lacks()
    {
        using var garments = ModelFolder.Load(TestModels.Bundled("fashion-ddpm-32"));
        Refused(garments, Garment, All["tgate"], "no cross-attention");
        Refused(garments, Garment, new() { DeepCache = new DeepCacheOptions(2, 6) }, "branches 0 to 5");
        Refused(garments, Garment, new() { Merging = new TokenMergingOptions(0.5, [0]) }, "attends to itself at level 2, not at 0");
        Refused(garments, Garment, new() { DeepCache = new DeepCacheOptions(2), EncoderKeys = [0] }, "exclude each other");
        Refused(garments, Garment, new() { GateStep = 0 }, "expected a step of 1 or more");
        Refused(garments, Garment, new() { Coarse = new CoarseStepsOptions(Steps) }, "leave none at full size");
        Refused(garments, Garment, new() { Coarse = new CoarseStepsOptions(1, 5) }, "multiples of 20");
        Refused(garments, Garment with { Sampler = "dpm_adaptive" }, All["deepcache"], "fixed schedule");
        Refused(garments, Garment with { Init = new SourceImage(32, 32, 1, new float[1024]) }, All["coarse"], "begins with an image");

        using var transformer = ModelFolder.Load(folder.Synthetic("dit-tiny"));
        var request = new GenerateRequest { Classes = [1], Sampler = "ddim", Options = new SamplerOptions { Steps = 2 } };
        Refused(transformer, request, All["deepcache"], "no skips");
        Refused(transformer, request, All["reuse-encoder"], "no skips");
        Refused(transformer, request, All["tgate"] with { GateStep = 1 }, "no cross-attention");
        Make(transformer, request with { Shortcuts = new() { Merging = new TokenMergingOptions(0.5, [0]) } }, 2);
    }

    private static void Refused(ModelFolder model, GenerateRequest request, ShortcutOptions shortcuts, string what)
    {
        string message = Assert.Throws<UsageException>(() => Make(model, request with { Shortcuts = shortcuts }, 1)).Message;
        Assert.Contains(what, message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', message);
    }

    private static List<int> Indices(bool[] whole) => [.. Enumerable.Range(0, whole.Length).Where(i => whole[i])];

    private static byte[][] Make(ModelFolder model, GenerateRequest request, int threads)
    {
        using var device = new CpuDevice(threads);
        using var pipeline = new GeneratePipeline(model, device);
        return pipeline.Make(request);
    }
}
