"""What a calibration runs on the noises of a source: references, fits, a race; stage by stage.

Noises have numbers. References are made in blocks of some noises, each of which is recorded when it
is there, and are kept: a fit to more noises takes those of a smaller one.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from ..diffusion.coordinate import spread
from ..diffusion.multistep import Multistep, textbook
from ..judging.end_points import MANY, Shown
from ..runs.meter import NotFiniteError
from ..step_counts import drawn_through
from .multistep_fit import Path, Run, greedy, run, tangents
from .shared_references import SharedReferences

__all__ = ["FITTED_ELEMENTS", "ROBUST", "Bench", "Source", "blocks", "kept_elements", "marked"]

T = TypeVar("T")

FITTED_ELEMENTS = 2048  # of a latent that a fit is made on
REFERENCE, ROBUST = "unipc_3", "dpmpp_2m"
RHO = 7.0  # of the robust method's levels, as of EDM's
DOUBT = 0.7  # of what half the steps change: a reference that disagrees by more is none
NOISES_AT_ONCE = 8  # noises of which an interrupt loses the runs, at most


class Source(Protocol):
    """The surroundings of a calibration: all that it needs of them.

    shape:      of one sample
    batch_size: rows of a call at most
    """

    shape: tuple[int, ...]
    batch_size: int

    @property
    def spent(self) -> int:
        """Calls made so far."""

    def noise(self, indices: range) -> Tensor:
        """Unit noises [K, ...] by their numbers."""

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        """D [B, ...] of x [B, ...] in EDM coordinates at one EDM level sigma [B]: B calls.

        Raises Ended where a limit leaves no more.
        """

    def fits(self, rows: int) -> bool:
        """Tell whether so many more calls may be made."""

    def decide(self, choose: Callable[[int], T]) -> T:
        """What is chosen by the calls that may be made in all, which a limit may have lessened."""

    def once(self, key: str, measure: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """What a stage finds: recalled if a stage of that key is known, else measured.

        The key tells all that it depends on, beside the model and the seed.
        """


def blocks(noises: range) -> Iterator[range]:
    """Noises in parts of at most NOISES_AT_ONCE.

    >>> [*blocks(range(3, 14))]
    [range(3, 11), range(11, 14)]
    """
    for first in noises[::NOISES_AT_ONCE]:
        yield range(first, min(noises.stop, first + NOISES_AT_ONCE))


def kept_elements(shape: Sequence[int], elements: Tensor | None) -> Tensor:
    """Indices of the elements that a fit is made on."""
    counted = np.arange(math.prod(shape)) if elements is None else elements.numpy()
    chosen = np.random.default_rng(0).permutation(counted)[:FITTED_ELEMENTS]
    return torch.from_numpy(np.sort(chosen))


def marked(sampler: Multistep) -> str:
    """A few letters that are those of this sampler alone."""
    plain = json.dumps(sampler.to_plain())
    return hashlib.blake2b(plain.encode(), digest_size=8).hexdigest()


class Bench:
    """Stages of runs from a source, on the elements that are kept.

    Arguments:
        reference: steps of the references.
        boundary: the EDM level at and below which another model answers; 0: there is one model.
        shared: with calibrations for other numbers of steps.

    path: the references so far; None: none yet
    """

    def __init__(
        self,
        source: Source,
        kept: Tensor,
        lowest: float,
        reference: int,
        curves: Mapping[str, Sequence[float]],
        boundary: float = 0.0,
        shared: SharedReferences | None = None,
    ):
        self.source, self.kept, self.lowest = source, kept, lowest
        self.shared = shared
        self.boundary = boundary
        self.curves = {name: [float(t) for t in levels] for name, levels in curves.items()}
        highest = next(iter(self.curves.values()))[0]
        self.reference = self._fine(REFERENCE, highest, reference)
        self.robust, self.coarse = (
            self._fine(ROBUST, highest, count, rho=RHO) for count in (reference, reference // 2)
        )
        self.steps = len(next(iter(self.curves.values()))) - 1
        self.path: Path | None = None
        self.shown = Shown()
        self._known_ends: dict[int, Tensor] = {}

    def _fine(self, name: str, highest: float, count: int, **shape: float) -> Multistep:
        """A textbook sampler of many steps."""
        fine = spread(highest, self.lowest, count, **shape)
        if self.lowest < self.boundary < highest:  # one level is the boundary: no step crosses it
            fine[1 + np.abs(np.log(fine[1:-1] / self.boundary)).argmin()] = self.boundary
        return textbook(name, [*fine, 0.0], self.boundary)

    def denoise(self, x: Tensor, level: float) -> Tensor:
        """D of any number of rows at one level, in batches."""
        parts = [
            self.source.denoise(rows, rows.new_full((len(rows),), level))
            for rows in x.split(self.source.batch_size)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def elements(self, x: Tensor) -> Tensor:
        """The kept elements [K, E] in double precision, on the CPU."""
        return x.flatten(1).index_select(1, self.kept.to(x.device)).cpu().double()

    def once(
        self, key: str, noises: range, measure: Callable[[], dict[str, Tensor]], *on: Multistep
    ) -> dict[str, Tensor]:
        """What a stage finds on some noises with some samplers."""
        return self.source.once(" ".join([key, str(noises), *map(marked, on)]), measure)

    # -- references -------------------------------------------------------------------------

    def _fine_runs(
        self,
        key: str,
        noises: range,
        measure: Callable[[range], dict[str, Tensor]],
        fine: Multistep,
    ) -> dict[str, Tensor]:
        """What fine-step runs find, for which another calibration may have made the calls."""

        def missing() -> dict[str, Tensor]:
            if self.shared is None:
                return measure(noises)
            return self.shared.completed(f"{key} {marked(fine)}", noises, measure)

        return self.once(key, noises, missing, fine)

    def check(self, checked: int) -> None:
        """Check the references of the first noises.

        If they are in doubt, the robust method's are taken, here and from now on.
        """
        noises = range(checked)
        if self._doubtful(noises, self.path_of(checked).end):
            self.reference = self.robust
            self.path = None
            self.path_of(checked)

    def path_of(self, count: int) -> Path:
        """The references of the first so many noises, with what they visited."""
        known = 0 if self.path is None else len(self.path.end)
        for noises in blocks(range(known, count)):
            path = self._visited(noises)
            _check(path.end)
            self.path = path if self.path is None else self.path.joined(path)
        assert self.path is not None
        return self.path

    def _visited(self, noises: range) -> Path:
        visited: list[tuple[Tensor, Tensor]] = []

        def noting(x: Tensor, sigma: Tensor) -> Tensor:
            D = self.denoise(x, float(sigma[0]))
            visited.append((self.elements(x), self.elements(D)))
            return D

        def measure(noises: range) -> dict[str, Tensor]:
            end = self.elements(self.reference(noting, self.source.noise(noises)))
            t = torch.tensor(self.reference.told, dtype=torch.float64)[:, None, None]
            x, D = (torch.stack(part) for part in zip(*visited, strict=True))
            return {"outputs": D.flip(0), "noises": ((x - D) / t).flip(0), "end": end}

        found = self._fine_runs("path", noises, measure, self.reference)
        log_levels = np.log(self.reference.told[::-1])
        return Path(log_levels, found["outputs"], found["noises"], found["end"])

    def _doubtful(self, noises: range, end: Tensor) -> bool:
        """Whether ends [K, E] disagree with the robust method's by more than these change."""
        fine, coarse = (
            self._ends("check", one, noises, fine=True) for one in (self.robust, self.coarse)
        )
        apart = (end - fine).norm(dim=1).clamp_min(1e-12)
        change = (fine - coarse).norm(dim=1).clamp_min(1e-9)
        return not float((apart / change).log().mean()) < math.log(DOUBT)

    def reference_ends(self, noises: range) -> Tensor:
        """The references' end points [K, E]."""
        end = self._ends("reference", self.reference, noises, MANY, fine=True)
        _check(end)
        self._known_ends |= dict(zip(noises, end, strict=True))
        return end

    def end(self, noises: range) -> Tensor:
        """Those [K, E] of noises that have been raced."""
        return torch.stack([self._known_ends[number] for number in noises])

    # -- runs -------------------------------------------------------------------------------

    def errors(self, sampler: Multistep, noises: range, end: Tensor) -> Tensor:
        """RMS errors [K] of a sampler; infinite where a run's end is no number."""
        error = (
            (self._ends("raced", sampler, noises, marked(sampler)) - end).square().mean(1).sqrt()
        )
        return torch.where(error.isfinite(), error, math.inf).clamp_min(1e-12)

    def _ends(
        self, key: str, sampler: Multistep, noises: range, shown: str = "", fine: bool = False
    ) -> Tensor:
        """Where noises lead with a sampler [K, E].

        shown: the name under which the first of them all is kept to be looked at
        fine:  whether these are fine steps
        """

        def measure(noises: range) -> dict[str, Tensor]:
            x = sampler(self._rows, self.source.noise(noises))
            return {"end": self.elements(x), **(self.shown.part(x) if shown else {})}

        if fine:
            found = self._fine_runs(key, noises, measure, sampler)
        else:
            found = self.once(key, noises, partial(measure, noises), sampler)
        if shown:
            self.shown.keep(shown, found)
        return found["end"]

    def _rows(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.denoise(x, float(sigma[0]))

    def run(self, sampler: Multistep, noises: range, key: str = "run") -> Run:
        """A sampler's run on some noises."""

        def measure(noises: range) -> dict[str, Tensor]:
            noise = self.source.noise(noises)
            return _as_tensors(run(self.denoise, sampler, noise, self.elements))

        return Run.joined(
            [
                _as_run(self.once(key, part, partial(measure, part), sampler))
                for part in blocks(noises)
            ]
        )

    def greedy(self, start: Multistep, noises: range, whole: bool) -> tuple[Multistep, Run]:
        """A start with rows fitted to some noises, and its run on them."""
        path = self.path_of(len(noises))

        def measure() -> dict[str, Tensor]:
            noise = self.source.noise(noises)
            sampler, made = greedy(
                self.denoise, start, noise, path, self.elements, whole, self.boundary
            )
            sizes = torch.tensor([len(row) for row in sampler.weights])
            weights = [b for row in sampler.weights for b in row]
            rows = {"sizes": sizes, "weights": torch.tensor(weights, dtype=torch.float64)}
            return {**rows, **_as_tensors(made)}

        found = self.once("greedy", noises, measure, start, self.reference)
        rows = found["weights"].split(found["sizes"].tolist())
        weights = tuple(tuple(row.tolist()) for row in rows)
        return Multistep(start.levels, start.told, weights), _as_run(found)

    def tangents(
        self, sampler: Multistep, made: Run, count: int, model_level: Callable[[float], float]
    ) -> Tensor:
        """Derivatives [K, U, E] of the end points of the first so many noises, see `tangents`."""

        def measure(noises: range) -> dict[str, Tensor]:
            noise, part = self.source.noise(noises), made.part(noises)
            found = tangents(
                self.denoise, sampler, noise, part, self.elements, self.lowest, model_level,
                self.boundary,
            )  # fmt: skip
            return {"tangents": found}

        parts = [
            self.once("tangents", part, partial(measure, part), sampler)["tangents"]
            for part in blocks(range(count))
        ]
        return torch.cat(parts)

    def drawn(self, steps: int) -> list[list[float]]:
        """The curves, drawn through another number of steps."""
        curves = (np.array(levels) for levels in self.curves.values())
        return [drawn_through(levels, steps, self.lowest).tolist() for levels in curves]


def _as_tensors(made: Run) -> dict[str, Tensor]:
    """A run as tensors; `_as_run` is the inverse."""
    return {"end": made.end, **{f"output {i}": D for i, D in enumerate(made.outputs)}}


def _as_run(found: Mapping[str, Tensor]) -> Run:
    count = sum(name.startswith("output ") for name in found)
    return Run([found[f"output {i}"] for i in range(count)], found["end"])


def _check(end: Tensor) -> None:
    """Raise NotFiniteError unless references ended in numbers."""
    if not bool(end.isfinite().all()):
        raise NotFiniteError("The reference runs' end points are no numbers", np.array([]))
