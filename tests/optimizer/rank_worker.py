"""Work of a process of test_ranks.py: optimisations with one denoiser, some of which go wrong.

Every process writes what came out, by name of the job, to `<folder>/<rank>.json`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from align_your_steps.benchmarks.mixture import Mixture
from align_your_steps.optimizer import Profile, RankError, Ranks, Result, measure_profile
from align_your_steps.optimizer.diffusion.coordinate import spread
from align_your_steps.optimizer.runs.ledger import Ledger
from align_your_steps.optimizer.runs.meter import Meter
from align_your_steps.tests.optimizer.laboratory import optimize_flat
from torch import Tensor, distributed

DATA = Mixture.random(16, 4, seed=3)
MINE = torch.tensor([20.0, 6.0, 1.5, 0.3, 0.0])
LEVELS = spread(20.0, 0.05, 24).tolist()  # of a given profile
FAILING = 6.0  # a level of that schedule alone
PATIENCE = 60.0  # seconds; no rank that ends is waited for so long
STAYS = 4.0  # seconds that a rank lives on after it has noticed
HUNG, IMPATIENCE = 4.0, 1.0  # seconds that a rank hangs, and that the others wait


class Model:
    """A denoiser that counts rows; `wrong` is called before every call, and may change its output.

    wrong: (number of the call, level) -> rows of the output that are NaN
    """

    def __init__(self, wrong: Callable[[int, float], slice] = lambda call, level: slice(0, 0)):
        self.wrong = wrong
        self.calls = self.rows = 0

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        self.calls += 1
        bad = self.wrong(self.calls, float(sigma[0]))
        self.rows += len(x)
        output = DATA.denoise(x, sigma)
        output[bad] = float("nan")
        return output


class OnDisk:
    """A journal in a folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def get(self, name: str) -> Mapping[str, Tensor] | None:
        path = self.folder / name
        return torch.load(path, weights_only=True) if path.exists() else None

    def put(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        torch.save(dict(tensors), self.folder / f"{name}.part")
        os.replace(self.folder / f"{name}.part", self.folder / name)


class Rows:
    """A limit of rows."""

    def __init__(self, rows: int):
        self.rows = rows

    def left(self, rows: int) -> float:
        return max(0, self.rows - rows)


def run(model: Model, **settings: Any) -> Result:
    """One optimisation, small unless the settings say otherwise."""
    given = {"solver": "dpmpp_2m", "budget": 900, "steps": 4, "candidates": {"mine": MINE}}
    return optimize_flat(model, (16,), sigma_max=20.0, sigma_min=0.05, **{**given, **settings})


def told(result: Result, model: Model) -> dict[str, Any]:
    """A result as plain values."""
    return {
        "sigmas": result.sigmas.tolist(),
        "method": result.method,
        "calls": result.calls,
        "own_rows": model.rows,
        "noises": result.noises,
        "errors": {score.candidate.name: score.errors for score in result.scores},
        "failed": result.failed,
        "criterion": result.criterion,
        "reference_error": result.reference_error,
        "profile": result.profile.digest,
        "ended_early": result.ended_early,
    }


EQUAL: dict[str, dict[str, Any]] = {
    "euler": {"solver": "euler"},
    "dpmpp_2m": {"solver": "dpmpp_2m"},
    "distribution": {"solver": "dpmpp_2m_sde", "budget": 1000},
    "paper": {"method": "paper"},
    "limited": {"finish": Rows(600)},
}
UNEVEN: dict[str, dict[str, Any]] = {  # 4 or 5 noises in a batch, but 3 at the fewest
    "uneven": {"solver": "dpmpp_2m", "budget": 1300},
    "uneven distribution": {"solver": "dpmpp_2m_sde", "budget": 3000},
    "few": {"solver": "euler", "budget": 400},
}


def empty() -> Ledger:
    """One to which nothing is charged."""
    return Ledger(0, Meter())


def given_profile() -> Profile:
    """Of two machines, merged."""
    one, other = (
        measure_profile(DATA.denoise, DATA.sample(3, seed=k).float(), LEVELS, seed=k)
        for k in (1, 2)
    )
    return one + other


def pair(ranks: Ranks, folder: Path) -> dict[str, Callable[[], Any]]:
    """The jobs of two ranks, in order. Rank 0 alone has a limit and a journal."""
    first = ranks.rank == 0

    def plain(model: Model | None = None, **settings: Any) -> dict[str, Any]:
        model = model or Model()
        if not first:
            settings = {k: v for k, v in settings.items() if k not in ("finish", "journal")}
        return told(run(model, **settings, ranks=ranks), model)

    def fails(call: int, level: float) -> slice:
        """On the second rank alone, its last row."""
        return slice(-1, None) if not first and abs(level - FAILING) < 1e-6 else slice(0, 0)

    def no_reference(call: int, level: float) -> slice:
        return slice(-1, None) if not first and call == 5 else slice(0, 0)

    phases: list[str] = []
    levels: list[float] = []

    def no_further_reference(call: int, level: float) -> slice:
        """The second level of a reference, in the comparison at the end."""
        levels.append(level)
        comparing = "profile" in phases and phases[-1] == "candidates"
        late = not first and comparing and level == levels[1]
        return slice(-1, None) if late else slice(0, 0)

    def at_the_end() -> Any:
        with ranks.agreed("an optimisation"):
            if not first:
                raise OSError("when all is done")
        return {}

    def raises(call: int, level: float) -> slice:
        if not first and call == 150:
            raise MemoryError("no memory left on this device")
        return slice(0, 0)

    def cancels(phase: str, rows: int) -> None:
        if phase == "refinement" and not first:
            raise KeyboardInterrupt

    def hangs(call: int, level: float) -> slice:
        if not first and call == 10:
            time.sleep(HUNG)
        return slice(0, 0)

    def hung() -> Any:
        impatient = Ranks(timeout=IMPATIENCE)
        return told(run(model := Model(hangs), ranks=impatient), model)

    written, read = OnDisk(folder / "written"), OnDisk(folder / "read")
    return {
        **{name: lambda s=s: plain(**s) for name, s in EQUAL.items()},
        "journal written": lambda: plain(journal=written),
        "journal read": lambda: plain(journal=read),
        "failing": lambda: plain(Model(fails)),
        "failing distribution": lambda: plain(Model(fails), solver="dpmpp_2m_sde", budget=1000),
        "no reference": lambda: plain(Model(no_reference)),
        "no further reference": lambda: plain(
            Model(no_further_reference), progress=lambda phase, _: phases.append(phase)
        ),
        "given": lambda: plain(profile=given_profile()),
        "raises": lambda: plain(Model(raises)),
        "at the end": at_the_end,
        "cancelled": lambda: plain(progress=cancels),
        "other arguments": lambda: plain(seed=ranks.rank),
        "other candidates": lambda: plain(candidates={"mine": MINE * (1.0 + 0.1 * ranks.rank)}),
        "too little": lambda: plain(budget=10),
        "ended at once": lambda: plain(budget=4000, finish=Rows(0)),
        "after all that": lambda: plain(),
        "hangs": hung,
    }


def three(ranks: Ranks, folder: Path) -> dict[str, Callable[[], Any]]:
    """The jobs of three ranks, the last of which is killed while the profile is measured."""
    phases: list[str] = []

    def dies(call: int, level: float) -> slice:
        if ranks.rank == 2 and "profile" in phases:  # a batch of it is done
            os.kill(os.getpid(), signal.SIGKILL)
        return slice(0, 0)

    def plain(model: Model, **settings: Any) -> dict[str, Any]:
        return told(run(model, **settings, ranks=ranks), model)

    return {
        **{name: lambda s=s: plain(Model(), **s) for name, s in UNEVEN.items()},
        "killed": lambda: plain(
            Model(dies),
            progress=lambda phase, _: phases.append(phase),
            budget=2400,
            batch_size=3,  # two batches of the profile
        ),
    }


def four(ranks: Ranks, folder: Path) -> dict[str, Callable[[], Any]]:
    """The last rank is killed between two exchanges; the others stay for a while.

    Before, ranks 0 and 2 and ranks 1 and 3 are groups of their own.
    """

    def groups() -> dict[str, Any]:
        odd = ranks.rank % 2
        both = [distributed.new_group([k, k + 2]) for k in range(2)]
        mine, refused = Ranks(both[odd], timeout=PATIENCE), ""
        try:
            Ranks(both[1 - odd])
        except ValueError as error:
            refused = str(error)
        mark = torch.tensor([10.0 + ranks.rank])
        found = mine.gather("group", lambda: {"errors": mark}, empty())
        limit = Rows(7 + ranks.rank) if mine.rank == 0 else None
        _, finish = mine.shared(None, limit)
        return {
            "errors": found["errors"].tolist(),
            "rank": mine.rank,
            "left": finish and finish.left(0),
            "refused": refused,
        }

    def exchange() -> None:
        for number in range(2):
            if number == 1 and ranks.rank == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            ranks.gather(f"exchange, {number}", lambda: {"errors": torch.ones(1)}, empty())

    return {"groups": groups, "killed": exchange, "stays": lambda: time.sleep(STAYS) or {}}


def killed_early(ranks: Ranks, folder: Path) -> dict[str, Callable[[], Any]]:
    """The second rank is killed during the references, after the first of two batches."""

    def dies(call: int, level: float) -> slice:
        if ranks.rank == 1 and call == 50:
            os.kill(os.getpid(), signal.SIGKILL)
        return slice(0, 0)

    return _killed(ranks, Model(dies), folder)


def killed_late(ranks: Ranks, folder: Path) -> dict[str, Callable[[], Any]]:
    """The first rank is killed during the comparison."""
    phases: list[str] = []

    def dies(call: int, level: float) -> slice:
        if ranks.rank == 0 and "profile" in phases and phases[-1] == "candidates":
            os.kill(os.getpid(), signal.SIGKILL)
        return slice(0, 0)

    return _killed(ranks, Model(dies), folder, progress=lambda phase, _: phases.append(phase))


def _killed(ranks: Ranks, model: Model, folder: Path, **more: Any) -> dict[str, Any]:
    journal = OnDisk(folder / "journal")
    return {"killed": lambda: told(run(model, ranks=ranks, journal=journal, **more), model)}


JOBS = {job.__name__: job for job in (pair, three, four, killed_early, killed_late)}


def work(job: str, rank: int, size: int, folder: Path) -> None:
    """Be one rank of a job."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=size
    )
    done(Ranks(timeout=PATIENCE), job, folder)


def done(ranks: Ranks, job: str, folder: Path) -> None:
    """Do the jobs, and write what came out of all so far after each."""
    found: dict[str, Any] = {}
    for name, do in JOBS[job](ranks, folder).items():
        began = time.perf_counter()
        try:
            found[name] = do()
        except BaseException as error:
            found[name] = {"error": type(error).__name__, "message": str(error)}
            if isinstance(error, RankError):
                found[name]["kept"] = error.profile and error.profile.count
        found[name]["seconds"] = time.perf_counter() - began
        (folder / f"{ranks.rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":  # by torchrun
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    ranks, model = Ranks(timeout=PATIENCE), Model()
    found = told(run(model, **EQUAL["euler"], ranks=ranks), model)
    (Path(sys.argv[1]) / f"{ranks.rank}.json").write_text(json.dumps(found))
    distributed.destroy_process_group()
