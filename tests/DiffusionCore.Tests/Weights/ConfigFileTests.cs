using System.Text;
using DiffusionCore.Json;
using DiffusionCore.Runtime;

namespace DiffusionCore.Tests.Weights;

public class ConfigFileTests
{
    private static readonly string[] Spacings = ["leading", "linspace", "trailing"];

    [Fact]
    public void Fields_are_read_with_their_types()
    {
        var config = Parse("""{"_class_name":"UNet2DModel","n":3,"x":1e-5,"y":2,"yes":true,"words":["a","b"],"ints":[1,2],"reals":[0.5,1],"nothing":null,"map":{"k":"v"},"inf":"inf"}""");
        Assert.Equal("UNet2DModel", config.ClassName);
        Assert.Equal(3, config.GetInt("n", null));
        Assert.Equal(7, config.GetInt("absent", 7));
        Assert.Equal(7, config.GetInt("nothing", 7));
        Assert.Null(config.GetOptionalInt("nothing"));
        Assert.Equal(1e-5, config.GetDouble("x", null));
        Assert.Equal(2, config.GetDouble("y", null));
        Assert.Equal(double.PositiveInfinity, config.GetDouble("inf", null));
        Assert.True(config.GetBool("yes", null));
        Assert.Equal(["a", "b"], config.GetOptionalStrings("words")!);
        Assert.Equal([1, 2], config.GetOptionalInts("ints")!);
        Assert.Equal([0.5, 1], config.GetOptionalDoubles("reals")!);
        Assert.Equal("v", config.GetStringMap("map")["k"]);
        Assert.True(config.HasKey("nothing"));
        Assert.False(config.Has("nothing"));
        Assert.True(config.IsArray("ints"));
        Assert.Equal("", Parse("{}").ClassName);
    }

    public static TheoryData<string, string> Numbers() => new()
    {
        { "0", "found 0" }, { "-1", "found -1" }, { "1001", "found 1001" }, { "2147483648", "found 2147483648" }, { "1e9", "found 1e9" }, { "1.0", "found 1.0" },
        { "1.5", "found 1.5" }, { "\"3\"", "found \"3\"" }, { "true", "found true" }, { "[3]", "found [3]" }, { "{}", "found {}" }, { "9223372036854775808", "found 9223372036854775808" },
        { "null", "found null" },
    };

    [Theory]
    [MemberData(nameof(Numbers))]
    public void A_whole_number_out_of_range_or_of_another_type_is_named(string json, string found)
    {
        var config = Parse($$"""{"layers":{{json}}}""");
        var e = Assert.Throws<ModelFileException>(() => config.GetInt("layers", null, 1, 1000));
        Assert.Equal("config.json", e.File);
        Assert.Equal("layers", e.Item);
        Assert.Contains("expected a whole number", e.Message, StringComparison.Ordinal);
        Assert.EndsWith(found, e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Every_getter_names_the_field_what_it_expects_and_what_it_found()
    {
        var config = Parse("""{"s":"x","n":3,"big":1e999,"list":[1,"two",3],"reals":[0.1,"x"],"huge":[1e999],"words":["a",1],"map":{"k":1},"long":"0123456789012345678901234567890123456789"}""");
        Check("config.json: s: expected a number, found \"x\"", () => config.GetDouble("s", null));
        Check("config.json: n: expected a number from 0 to 1, found 3", () => config.GetDouble("n", null, 0, 1));
        Check("config.json: big: expected a number, found 1e999", () => config.GetDouble("big", null));
        Check("config.json: s: expected true or false, found \"x\"", () => config.GetBool("s", null));
        Check("config.json: n: expected a string, found 3", () => config.GetString("n", null));
        Check("config.json: gone: expected a string, found nothing", () => config.GetString("gone", null));
        Check("config.json: list[1]: expected a whole number from 1 to 9, found \"two\"", () => config.GetOptionalInts("list", 1, 9));
        Check("config.json: list[2]: expected a whole number from 1 to 2, found 3", () => Parse("""{"list":[1,2,3]}""").GetOptionalInts("list", 1, 2));
        Check("config.json: n: expected an array of whole numbers, found 3", () => config.GetOptionalInts("n"));
        Check("config.json: reals[1]: expected a number, found \"x\"", () => config.GetOptionalDoubles("reals"));
        Check("config.json: huge[0]: expected a number, found 1e999", () => config.GetOptionalDoubles("huge"));
        Check("config.json: words[1]: expected a string, found 1", () => config.GetOptionalStrings("words"));
        Check("config.json: map.k: expected a string, found 1", () => config.GetStringMap("map"));
        Check("config.json: long: expected true or false, found string", () => config.GetBool("long", null));

        static void Check(string message, Func<object?> get) => Assert.Equal(message, Assert.Throws<ModelFileException>(() => get()).Message);
    }

    [Theory]
    [InlineData("trailling", "did you mean 'trailing'?")]
    [InlineData("LEADING", "did you mean 'leading'?")]
    [InlineData("karras", "known: leading, linspace, trailing")]
    public void An_unknown_word_is_answered_with_the_nearest_or_with_all(string word, string part)
    {
        var e = Assert.Throws<ModelFileException>(() => Parse($$"""{"timestep_spacing":"{{word}}"}""").GetWord("timestep_spacing", null, Spacings));
        Assert.Contains($"'{word}' is not supported", e.Message, StringComparison.Ordinal);
        Assert.Contains(part, e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_known_word_and_the_fallback_are_taken()
    {
        Assert.Equal("leading", Parse("""{"w":"leading"}""").GetWord("w", null, Spacings));
        Assert.Equal("linspace", Parse("{}").GetWord("w", "linspace", Spacings));
    }

    [Theory]
    [InlineData("")]
    [InlineData("{")]
    [InlineData("{\"a\":1")]
    [InlineData("{\"a\":1}}")]
    [InlineData("{\"a\":1,}")]
    [InlineData("{\"a\":NaN}")]
    [InlineData("{\"a\":Infinity}")]
    [InlineData("{\"a\":1,\"a\":1}")]
    [InlineData("{\"a\":1,\"\\u0061\":1}")]
    [InlineData("{\"x\":{\"a\":1,\"a\":2}}")]
    [InlineData("{\"a\":\"\\ud800\"}")]
    [InlineData("{\"\\ud800\":1}")]
    [InlineData("{\"a\":[{\"b\":\"\\udfff\"}]}")]
    [InlineData("[]")]
    [InlineData("3")]
    [InlineData("null")]
    [InlineData("{\"a\":\"\n\"}")]
    [InlineData("// a comment\n{}")]
    public void What_is_not_a_sound_object_is_refused(string text)
    {
        using var folder = new TemporaryFolder();
        string path = folder.Write("config.json", text);
        var e = Assert.Throws<ModelFileException>(() => ConfigFile.Load(path));
        Assert.Equal(path, e.File);
        Assert.DoesNotContain(e.Message, char.IsControl);
    }

    [Fact]
    public void Bytes_that_are_not_UTF_8_and_deep_nesting_are_refused()
    {
        Assert.Contains("UTF-8 at byte 6", Message([.. "{\"a\":\""u8, 0xC3, 0x28, .. "\"}"u8]), StringComparison.Ordinal);
        Assert.Contains("not valid JSON", Message(Encoding.UTF8.GetBytes("{\"a\":" + new string('[', 5000) + new string(']', 5000) + "}")), StringComparison.Ordinal);

        static string Message(byte[] bytes) => Assert.Throws<ModelFileException>(() => ConfigFile.Parse("config.json", bytes)).Message;
    }

    [Fact]
    public void A_byte_order_mark_is_accepted()
    {
        byte[] bytes = [0xEF, 0xBB, 0xBF, .. "{\"n\":1}"u8];
        Assert.Equal(1, ConfigFile.Parse("config.json", bytes).GetInt("n", null));
    }

    [Fact]
    public void A_missing_file_a_folder_and_a_file_that_is_too_large_are_named()
    {
        using var folder = new TemporaryFolder();
        Assert.Contains("there is no such file", Message(folder["config.json"]), StringComparison.Ordinal);
        Assert.Contains("is a folder", Message(folder.Path), StringComparison.Ordinal);
        using (var stream = File.Create(folder["large.json"])) stream.SetLength(10_000_001);
        Assert.Contains("has 10000001 bytes", Message(folder["large.json"]), StringComparison.Ordinal);
        Assert.Contains("an empty file name", Message(""), StringComparison.Ordinal);
        if (File.Exists("/dev/zero")) Assert.Contains("not a regular file", Message("/dev/zero"), StringComparison.Ordinal);

        static string Message(string path) => Assert.Throws<ModelFileException>(() => ConfigFile.Load(path)).Message;
    }

    private static ConfigFile Parse(string json) => ConfigFile.Parse("config.json", Encoding.UTF8.GetBytes(json));
}
