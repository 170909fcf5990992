#!/usr/bin/python3
"""Trains the ten-class Fashion-MNIST classifier that scores generated images.

    /usr/bin/python3 train.py DATA OUT [--epochs N]

DATA holds the four idx files of Fashion-MNIST (Debian: dataset-fashion-mnist puts them under /usr/share/datasets/fashion-mnist);
OUT receives diffusion_pytorch_model.safetensors (F16), report.txt and golden.safetensors. Needs numpy and PyTorch 1.13 or newer.
The network reads what the diffusion model writes: [N, 1, 32, 32], grey in [-1, 1], 28x28 padded by 2 with -1.
"""
import argparse, gzip, json, os, struct, time
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

CHANNELS, STRIDES, GROUPS, EPS = [32, 64, 64, 128, 128], [1, 2, 1, 2, 1], 8, 1e-5


class Block(nn.Module):
    def __init__(self, cin, cout, stride):
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, 3, stride, 1)
        self.norm = nn.GroupNorm(GROUPS, cout, EPS)

    def forward(self, x):
        return F.silu(self.norm(self.conv(x)))


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        inputs = [1] + CHANNELS[:-1]
        self.blocks = nn.ModuleList(Block(i, o, s) for i, o, s in zip(inputs, CHANNELS, STRIDES))
        self.head = nn.Linear(CHANNELS[-1], 10)

    def features(self, x):
        for block in self.blocks:
            x = block(x)
        return x.mean((2, 3))

    def forward(self, x):
        return self.head(self.features(x))


def idx(folder, name):
    for path, opener in ((os.path.join(folder, name), open), (os.path.join(folder, name + ".gz"), gzip.open)):
        if os.path.exists(path):
            data = opener(path, "rb").read()
            rank = data[3]
            dims = struct.unpack(">" + "I" * rank, data[4:4 + 4 * rank])
            return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(dims)
    raise SystemExit(f"{folder} has no {name}")


def prepare(images):
    x = torch.from_numpy(images.astype(np.float32) / 127.5 - 1)[:, None]
    return F.pad(x, (2, 2, 2, 2), value=-1.0)


def augment(x):
    n = len(x)
    x = torch.where(torch.rand(n, 1, 1, 1) < 0.5, x.flip(3), x)
    padded = F.pad(x, (2, 2, 2, 2), value=-1.0)
    dy, dx = torch.randint(0, 5, (2,)).tolist()
    return padded[:, :, dy:dy + 32, dx:dx + 32]


def save(path, tensors):
    header, offset = {}, 0
    for name, (kind, array) in tensors.items():
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for kind, array in tensors.values():
            f.write(np.ascontiguousarray(array).tobytes())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("out")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=3e-3)
    args = parser.parse_args()
    torch.manual_seed(1)
    x, y = prepare(idx(args.data, "train-images-idx3-ubyte")), torch.from_numpy(idx(args.data, "train-labels-idx1-ubyte").astype(np.int64))
    xt, yt = prepare(idx(args.data, "t10k-images-idx3-ubyte")), torch.from_numpy(idx(args.data, "t10k-labels-idx1-ubyte").astype(np.int64))
    net = Classifier()
    optimiser = torch.optim.AdamW(net.parameters(), args.rate, weight_decay=0.02)
    steps = args.epochs * (len(x) // args.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, args.rate, total_steps=steps, pct_start=0.2)
    start, step = time.time(), 0
    for epoch in range(args.epochs):
        net.train()
        for rows in torch.randperm(len(x))[: len(x) // args.batch * args.batch].view(-1, args.batch):
            loss = F.cross_entropy(net(augment(x[rows])), y[rows], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            step += 1
            if step % 100 == 0:
                print(f"epoch {epoch + 1} step {step}/{steps} loss {loss.item():.3f} {time.time() - start:.0f} s", flush=True)
    seconds = time.time() - start
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(p.half().float())
        net.eval()
        answers = torch.cat([net(xt[i:i + 500]).argmax(1) for i in range(0, len(xt), 500)])
    os.makedirs(args.out, exist_ok=True)
    save(os.path.join(args.out, "diffusion_pytorch_model.safetensors"),
         {n: ("F16", p.detach().half().numpy()) for n, p in net.state_dict().items()})
    confusion = np.zeros((10, 10), int)
    np.add.at(confusion, (yt.numpy(), answers.numpy()), 1)
    with open(os.path.join(args.out, "report.txt"), "w") as f:
        f.write(f"parameters {sum(p.numel() for p in net.parameters())}\n")
        f.write(f"accuracy of the F16 weights on {len(yt)} test images: {(answers == yt).float().mean().item() * 100:.2f} %\n")
        f.write(f"epochs {args.epochs}, batch {args.batch}, rate {args.rate}, {seconds:.0f} s\nrows: truth, columns: answer\n{confusion}\n")
    exact = Classifier().double()
    exact.load_state_dict({n: p.double() for n, p in net.state_dict().items()})
    pick = [int((yt == c).nonzero()[0]) for c in (0, 1, 7, 8)]
    with torch.no_grad():
        features = exact.features(xt[pick].double())
        logits = exact.head(features)
    save(os.path.join(args.out, "golden.safetensors"), {
        "in.image": ("F32", xt[pick].numpy()),
        "out.features": ("F32", features.float().numpy()),
        "out.logits": ("F32", logits.float().numpy())})


if __name__ == "__main__":
    main()
