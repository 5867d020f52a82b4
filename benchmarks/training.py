"""Training of the denoisers, and what their losses are beside."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

__all__ = ["draw_levels", "fit", "linear_denoiser", "loss_at", "loss_table", "save_half"]

SIGMA_MIN, SIGMA_MAX = 0.002, 80.0
REPORT_LEVELS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 40.0)
DROPPED = 0.15  # of the labels

Draw = Callable[[int], tuple[Tensor, Tensor]]  # rows -> images [B, C, H, W], labels [B, 10]
Conditional = Callable[[Tensor, Tensor, Tensor], Tensor]  # (x, sigma, label) -> D


def fit(
    model: nn.Module,
    draw: Draw,
    *,
    steps: int,
    batch: int,
    rate: float = 2e-3,
    decay: float = 0.998,
    every: int = 200,
    tell: Callable[[int, float, nn.Module], None] | None = None,
    kept: Path | None = None,
    half: bool = False,
) -> list[tuple[int, float]]:
    """Minimise E [(1 + t²)/t² · mean (D(x_t, t | label) - x_0)²], EDM's weight for data of std 1.

    The label is dropped for 15 % of the rows. Leaves the exponential average of the weights in the
    model, in evaluation mode.

    Arguments:
        steps, batch: of AdamW, with a warm-up and cosine decay.
        decay: of the average, for every step.
        every: so many steps one loss is noted.
        tell: called then with the step, the running loss and the averaged model.
        kept: a file where all is kept then, and from which an interrupted training goes on.
        half: whether convolutions are in bfloat16, where that is faster.

    Returns (step, running loss), a line each.
    """
    model.train()
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    warm_up = torch.optim.lr_scheduler.LinearLR(optimizer, 0.01, total_iters=200)
    slow = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    parts = {
        "model": model, "average": average, "optimizer": optimizer, "warm_up": warm_up,
        "slow": slow,
    }  # fmt: skip
    first, running, curve = _go_on(kept, parts)
    for step in range(first, steps + 1):
        loss = _weighted_loss(model, *draw(batch), half)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        warm_up.step()
        slow.step()
        average.update_parameters(model)
        running += 0.01 * (loss.item() - running)
        if step % every == 0:
            curve.append((step, running))
            print(f"step {step:5d}  loss {running:.4f}", flush=True)
            if tell is not None:
                tell(step, running, average.module)
            _keep(kept, parts, {"step": step, "running": running, "curve": curve})
    model.load_state_dict(average.module.state_dict())
    model.eval()
    return curve


def _weighted_loss(model: nn.Module, x_0: Tensor, label: Tensor, half: bool) -> Tensor:
    """EDM's loss of a batch at random levels, some of its labels dropped."""
    label = label * (torch.rand(len(label), 1) > DROPPED)
    sigma = draw_levels(len(x_0))
    t = sigma[:, None, None, None]
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        D = model(x_0 + t * torch.randn_like(x_0), sigma, label)
    return ((D - x_0).square() * (1.0 + t**-2)).mean()  # (1 + t²)/t² = 1 + t^-2


def _go_on(kept: Path | None, parts: dict[str, Any]) -> tuple[int, float, list[tuple[int, float]]]:
    """The first step to do, the running loss and the curve: of a kept training, or of a new one."""
    if kept is None or not kept.exists():
        return 1, 1.0, []
    done = torch.load(kept, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(done[name])
    torch.set_rng_state(done["random"])
    return done["step"] + 1, done["running"], done["curve"]


def _keep(kept: Path | None, parts: dict[str, Any], progress: dict[str, Any]) -> None:
    """Write all that a training needs to go on; the file is whole at any time."""
    if kept is None:
        return
    state = {name: part.state_dict() for name, part in parts.items()}
    whole = kept.with_suffix(".part")
    torch.save({**state, **progress, "random": torch.get_rng_state()}, whole)
    whole.replace(kept)


def draw_levels(count: int) -> Tensor:
    """[count] training levels: four in five log-normal around 0.5, the others even in log t."""
    low, high = math.log(SIGMA_MIN), math.log(SIGMA_MAX)
    middle = math.log(0.5) + 1.3 * torch.randn(count)
    everywhere = torch.empty(count).uniform_(low, high)
    return torch.where(torch.rand(count) < 0.8, middle, everywhere).clamp(low, high).exp()


def save_half(model: nn.Module, path: Path) -> None:
    """Write the weights in half precision."""
    weights = model.state_dict().items()
    save_file({name: value.half().contiguous() for name, value in weights}, path)


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


def loss_at(denoise: Conditional, x_0: Tensor, label: Tensor, t: float, noises: int = 4) -> float:
    """E mean (D(x_t, t) - x_0)² per element at one level, so many noises an image."""
    x_0, label = (part.repeat(noises, *[1] * (part.ndim - 1)) for part in (x_0, label))
    e = torch.randn(x_0.shape, generator=torch.Generator().manual_seed(1))
    total = 0.0
    with torch.inference_mode():
        for x, n, given in zip(x_0.split(512), e.split(512), label.split(512), strict=True):
            sigma = torch.full((len(x),), t)
            total += (denoise(x + t * n, sigma, given) - x).square().sum().item()
    return total / x_0.numel()


def loss_table(model: Conditional, seen: Sequence[Tensor], held_out: Sequence[Tensor]) -> str:
    """Losses by level, network and linear denoiser, on (images, labels) seen and held out."""
    linear = linear_denoiser(seen[0])

    def free(x: Tensor, sigma: Tensor, label: Tensor) -> Tensor:
        return model(x, sigma, 0 * label)

    def straight(x: Tensor, sigma: Tensor, label: Tensor) -> Tensor:
        return linear(x, sigma)

    lines = [
        "| sigma | network, trained on | network, held out | without label, held out "
        "| linear, trained on | linear, held out |",
        "|---|---|---|---|---|---|",
    ]
    networks = (model, seen), (model, held_out), (free, held_out)
    of = (*networks, (straight, seen), (straight, held_out))
    for t in REPORT_LEVELS:
        losses = [loss_at(denoise, images, labels, t) for denoise, (images, labels) in of]
        lines.append(f"| {t:g} | " + " | ".join(f"{value:.5f}" for value in losses) + " |")
    return "\n".join(lines)
