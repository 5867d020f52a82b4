"""A small classifier of each data set, whose last hidden layer is the space to compare samples in.

    python -m align_your_steps.benchmarks.evidence.features

trains all on the CPU, four minutes, and prints how often they are right on held-out images. The
weights are part of the repository.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..edm import CLASSES, loaded
from ..training import save_half

__all__ = ["FEATURES", "Classifier", "classifier"]

FEATURES = 24
CHANNELS = {"digits": 1, "patches": 3, "emoji": 3}


class Classifier(nn.Module):
    """Logits [B, 10] of images [B, C, H, W], whose sides are multiples of 8."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(channels, 24, 3, padding=1)
        self.conv_2 = nn.Conv2d(24, 48, 3, padding=1)
        self.conv_3 = nn.Conv2d(48, 48, 3, padding=1)
        self.hidden = nn.Linear(48 * 4, FEATURES)
        self.last = nn.Linear(FEATURES, CLASSES)

    def features(self, x: Tensor) -> Tensor:
        """[B, 24] values of the last hidden layer."""
        h = functional.max_pool2d(functional.silu(self.conv_1(x)), 2)
        h = functional.silu(self.conv_2(h))
        h = functional.adaptive_avg_pool2d(functional.silu(self.conv_3(h)), 2)
        return functional.silu(self.hidden(functional.dropout(h.flatten(1), 0.2, self.training)))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.features(x))


def classifier(network: str) -> Classifier:
    """The trained classifier of "digits", "patches" or "emoji"."""
    return loaded(Classifier(CHANNELS[network]), _weights(network))


def _weights(network: str) -> Path:
    return Path(__file__).parents[1] / network / "classifier.safetensors"


def _train(network: str, images: Tensor, labels: Tensor, steps: int, seed: int = 0) -> Classifier:
    """Minimise the cross-entropy of the classes."""
    torch.manual_seed(seed)
    model = Classifier(CHANNELS[network]).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        rows = torch.randint(len(images), (128,))
        loss = functional.cross_entropy(model(images[rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay.step()
    return model.eval()


def main() -> None:
    """Train all, keep them, and tell how good they are."""
    from ..digits.data import digits
    from ..emoji.data import HELD_OUT, emoji
    from ..patches.data import crops

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=CHANNELS, default=tuple(CHANNELS))
    chosen = parser.parse_args().networks
    torch.set_num_threads(1)
    data = {
        "digits": lambda: (digits(held_out=False), digits(held_out=True), 1500),
        "patches": lambda: (crops(10_000, 10), crops(2000, 11, held_out=True), 1000),
        "emoji": lambda: (
            emoji(1000, torch.Generator().manual_seed(10)),
            emoji(200, torch.Generator().manual_seed(HELD_OUT)),
            1000,
        ),
    }
    for network in chosen:
        (images, labels), held_out, steps = data[network]()
        save_half(_train(network, images, labels, steps), _weights(network))
        with torch.no_grad():
            guessed = classifier(network)(held_out[0]).argmax(1)
        right = (guessed == held_out[1].argmax(1)).float().mean()
        print(f"{network}: {100 * right:.1f} % of {len(guessed)} held-out images are told right")


if __name__ == "__main__":
    main()
