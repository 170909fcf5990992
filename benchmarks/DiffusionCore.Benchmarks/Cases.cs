using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Benchmarks;

/// <summary>The operators of Stable Diffusion's networks and of small ones, with the wanted ratio to ONNX Runtime.</summary>
public static class Cases
{
    public static List<OperatorCase> All() =>
    [
        new GemmCase("4096x320x320", 4096, 320, 320) { Target = 1 },
        new GemmCase("4096x320x2880", 4096, 320, 2880) { Target = 1 },
        new GemmCase("1024x640x640", 1024, 640, 640) { Target = 1 },
        new GemmCase("1024x640x5760", 1024, 640, 5760) { Target = 1 },
        new GemmCase("256x1280x1280", 256, 1280, 1280) { Target = 1 },
        new GemmCase("256x1280x11520", 256, 1280, 11520) { Target = 1 },
        new GemmCase("4096x2560x320", 4096, 2560, 320) { Target = 1 },
        new GemmCase("77x768x768", 77, 768, 768) { Target = 1 },
        new GemmCase("1x1280x320", 1, 1280, 320),
        new GemmCase("2x1280x1280", 2, 1280, 1280),
        new GemmCase("16x768x3072", 16, 768, 3072),
        new ConvolutionCase("320@64", 320, 320, 64) { Target = 0.40 },
        new ConvolutionCase("640@32", 640, 640, 32) { Target = 0.40 },
        new ConvolutionCase("1280@16", 1280, 1280, 16) { Target = 0.40 },
        new ConvolutionCase("1280@8", 1280, 1280, 8) { Target = 0.55 },
        new ConvolutionCase("512@64", 512, 512, 64) { Target = 0.40 },
        new ConvolutionCase("256@256", 256, 256, 256) { Target = 0.40 },
        new ConvolutionCase("128@512", 128, 128, 512) { Target = 0.40 },
        new ConvolutionCase("4 to 320 @64", 4, 320, 64),
        new ConvolutionCase("320 to 4 @64", 320, 4, 64),
        new ConvolutionCase("128 to 3 @512", 128, 3, 512),
        new AttentionCase("8 heads d40 4096x4096", 8, 4096, 4096, 40) { Target = 0.80 },
        new AttentionCase("8 heads d80 1024x1024", 8, 1024, 1024, 80) { Target = 0.94 },
        new AttentionCase("8 heads d160 256x256", 8, 256, 256, 160) { Target = 0.72 },
        new AttentionCase("8 heads d40 4096x77", 8, 4096, 77, 40) { Target = 0.55 },
        new AttentionCase("1 head d512 4096x4096", 1, 4096, 4096, 512) { Target = 0.73 },
        new NormCase("SiLU 320@64", 4096, 320, 32) { Target = 0.35 },
        new NormCase("SiLU 128@512", 512 * 512, 128, 32) { Target = 0.35 },
        new NormCase("4096x320", 4096, 320, 0) { Target = 0.35 },
        new GemmCase("4096x320 to 2x1280", 4096, 2560, 320, geglu: true) { Target = 0.85 },
        new GemmCase("1024x640 to 2x2560", 1024, 5120, 640, geglu: true) { Target = 0.85 },
    ];
}
