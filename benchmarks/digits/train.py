"""Train the digits denoiser on the CPU and print how well it has learnt.

    python -m align_your_steps.benchmarks.digits.train

About five minutes on one core. The result, `digits.safetensors`, is part of the repository.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from .data import digits
from .network import WEIGHTS, DigitsDenoiser, load_digits

__all__ = ["draw_levels", "linear_denoiser", "report", "train"]

SIGMA_MIN, SIGMA_MAX = 0.002, 80.0
REPORT_LEVELS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 40.0)


def train(steps: int = 4000, batch: int = 128, rate: float = 2e-3, seed: int = 0) -> DigitsDenoiser:
    """Minimise E [(1 + t²)/t² · mean (D(x_t, t | label) - x_0)²], EDM's weight for data of std 1.

    The label is dropped for 15 % of the rows. Returns the exponential average of the weights.
    """
    torch.manual_seed(seed)
    images, labels = digits(held_out=False)
    model = DigitsDenoiser(dropout=0.1).train()
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.998))
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    warm_up = torch.optim.lr_scheduler.LinearLR(optimizer, 0.01, total_iters=200)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    running = 1.0
    for step in range(1, steps + 1):
        rows = torch.randint(len(images), (batch,))
        x_0, label = images[rows], labels[rows] * (torch.rand(batch, 1) > 0.15)
        sigma = draw_levels(batch)
        t = sigma[:, None, None, None]
        D = model(x_0 + t * torch.randn_like(x_0), sigma, label)
        loss = ((D - x_0).square() * (1.0 + t**-2)).mean()  # (1 + t²)/t² = 1 + t^-2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        warm_up.step()
        decay.step()
        average.update_parameters(model)
        running += 0.01 * (loss.item() - running)
        if step % 200 == 0:
            print(f"step {step:5d}  loss {running:.4f}", flush=True)
    model.load_state_dict(average.module.state_dict())
    return model.eval()


def draw_levels(count: int) -> Tensor:
    """[count] training levels: four in five log-normal around 0.5, the others even in log t."""
    low, high = math.log(SIGMA_MIN), math.log(SIGMA_MAX)
    middle = math.log(0.5) + 1.3 * torch.randn(count)
    everywhere = torch.empty(count).uniform_(low, high)
    return torch.where(torch.rand(count) < 0.8, middle, everywhere).clamp(low, high).exp()


def linear_denoiser(images: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """The best denoiser that is linear in x: the ideal one of a Gaussian with the same moments.

        D(x, t) = m + C (C + t² I)^-1 (x - m)

    with m and C the mean and covariance of the images, of shape [N, ...].
    """
    rows = images.flatten(1).double()
    mean = rows.mean(0)
    variances, axes = torch.linalg.eigh(torch.cov(rows.T))

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        gain = variances / (variances + sigma.double().square()[:, None])  # [B, d]
        y = (x.flatten(1).double() - mean) @ axes
        return (mean + (gain * y) @ axes.T).reshape(x.shape).to(x)

    return denoise


def report(model: DigitsDenoiser) -> str:
    """A table of E mean (D(x_t, t) - x_0)² per pixel: network and linear, seen and held out."""
    seen, held_out = digits(held_out=False), digits(held_out=True)
    linear = linear_denoiser(seen[0])

    def loss(
        denoise: Callable[[Tensor, Tensor, Tensor], Tensor], data: tuple[Tensor, Tensor], t: float
    ) -> float:
        x_0, label = (part.repeat(4, *[1] * (part.ndim - 1)) for part in data)
        e = torch.randn(x_0.shape, generator=torch.Generator().manual_seed(1))
        sigma = torch.full((len(x_0),), t)
        return (denoise(x_0 + t * e, sigma, label) - x_0).square().mean().item()

    lines = [
        "| sigma | network, trained on | network, held out | without label, held out "
        "| linear, trained on | linear, held out |",
        "|---|---|---|---|---|---|",
    ]
    with torch.inference_mode():
        for t in REPORT_LEVELS:
            losses = [
                loss(model, seen, t),
                loss(model, held_out, t),
                loss(lambda x, sigma, label: model(x, sigma, 0 * label), held_out, t),
                loss(lambda x, sigma, label: linear(x, sigma), seen, t),
                loss(lambda x, sigma, label: linear(x, sigma), held_out, t),
            ]
            lines.append(f"| {t:g} | " + " | ".join(f"{value:.5f}" for value in losses) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    torch.set_num_threads(1)  # the network is too small to gain from more
    weights = train().state_dict()
    save_file({name: value.half().contiguous() for name, value in weights.items()}, WEIGHTS)
    print(report(load_digits()))
