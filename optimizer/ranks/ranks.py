"""One optimisation on several processes, each with a device of its own: the ranks.

Every rank makes every decision, from the same numbers. Of each batch of noise a rank runs its own
rows only; what all have found is gathered and joined in the order of the noises (parts.py). As
noise depends on (seed, stream, index) alone, that is what one process would have found with the
whole batch, up to rounding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..profile.profile import Profile
from ..runs.finish import Finish
from ..runs.journal import Journal
from ..runs.ledger import Ledger
from ..runs.meter import NotFiniteError
from ..runs.processes import Measure
from .exchange import GOES_ON, HAS_FAILED, Exchange, RankError
from .first import JournalOfFirst, LimitOfFirst
from .parts import joined_parts, packed, unpacked

if TYPE_CHECKING:  # a torch without torch.distributed has no such name
    from torch.distributed import ProcessGroup

__all__ = ["Ranks"]

TIMEOUT = 1800.0  # seconds: the slowest model's first call is far below
NOTHING = torch.empty(0, dtype=torch.uint8)


class Ranks:
    """The processes of a group, for `optimize`: every one of them makes this object and calls it.

    Arguments:
        group: of torch.distributed, already initialised; None: all processes.
        timeout: seconds that a rank waits for the slowest. One that has not answered by then
            counts as lost; one whose process has ended is noticed at once, and does not take so
            long. It is longer than any batch of runs, the model's loading included. The timeout of
            `init_process_group` plays no part: the object makes a gloo group of its own.

    A rank's own device is for its denoiser to know: what passes between ranks is in main memory.
    Nothing of an initialised torch.distributed is used unless this object is made: another part
    of the same program may use it for its own ends. Where one process has failed, torchrun ends
    the others too, perhaps before their error is read; the journal is as they left it.

    Run on gloo with 2, 3 and 4 processes of one machine. It was not run beside nccl, where nothing
    but the making of the group is different.

    Raises RuntimeError where torch.distributed is missing, was not initialised or has no gloo, and
    ValueError for a group that this process is not in.

    Example: a script started with `torchrun --nproc-per-node 2 script.py`. Every process comes to
    the same result.

        torch.distributed.init_process_group("gloo")
        result = optimize(denoise, shape, ..., session=Session(ranks=Ranks()))
    """

    def __init__(self, group: ProcessGroup | None = None, *, timeout: float = TIMEOUT):
        self._everybody = Exchange(group, timeout)
        self.rank, self.size = self._everybody.rank, self._everybody.size
        self._profile: Profile | None = None  # of the last optimisation, by all ranks

    @property
    def seconds(self) -> float:
        """Spent in exchanges so far, with waiting for the slowest rank."""
        return self._everybody.seconds

    @property
    def bytes(self) -> int:
        """Received in exchanges so far."""
        return self._everybody.bytes

    def rows(self, count: int) -> slice:
        """The rows of so many that are this rank's own: parts as equal as can be, larger first.

        With W ranks and B rows, rank r has floor(B/W) of them, and one more if r < B mod W.
        """
        least, more = divmod(count, self.size)
        first = self.rank * least + min(self.rank, more)
        return slice(first, first + least + (self.rank < more))

    @contextmanager
    def agreed(self, arguments: str) -> Iterator[None]:
        """Around one optimisation: a rank that ends it early tells the others.

        Raises RankError where another rank has, or was given other arguments.
        """
        self._profile, self._everybody.phase = None, "start"
        try:
            self._exchange(arguments, NOTHING)
            yield
            self._exchange("end", NOTHING)  # nobody leaves while another may still fail
        except RankError:  # everybody knows
            raise
        except BaseException as error:
            self._tell_failure(error)
            raise

    def _tell_failure(self, error: BaseException) -> None:
        told = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        with suppress(RankError):  # there is a failure of our own to tell of
            self._exchange("failure", packed({}, told), HAS_FAILED)

    def shared(
        self, journal: Journal | None, finish: Finish | None
    ) -> tuple[Journal | None, Finish | None]:
        """Rank 0's journal and limit, if it has them: all ranks hear what they answer."""
        if self.rank > 0:
            journal = finish = None
        has = self._of_first(
            "what there is",
            lambda: {"has": torch.tensor([journal is not None, finish is not None])},
        )
        assert has is not None
        recorded, limited = has["has"].tolist()
        return (
            JournalOfFirst(self._of_first, journal) if recorded else None,
            LimitOfFirst(self._of_first, finish) if limited else None,
        )

    def keep(self, profile: Profile) -> None:
        """Have a profile to return with the error, should a rank be lost."""
        self._profile = profile

    def gather(self, what: str, measure: Measure, ledger: Ledger) -> Mapping[str, Tensor]:
        """Measure this rank's rows of one batch of noise, and join what all have found.

        A limit is asked when all have: a rank that is at its own rows cannot hear the answer.

        Raises NotFiniteError with the noise levels of all ranks where it raises one in any, and
        RankError where it raises anything else in another.
        """
        self._everybody.phase = what.split(",", 1)[0]
        before, wrong = Counter(ledger.spent), None
        found: Mapping[str, Tensor] = {}
        try:
            with ledger.unasked():
                found = measure()
        except NotFiniteError as error:
            wrong = [error.what, error.levels]
        rows = {phase: count - before[phase] for phase, count in ledger.spent.items()}
        answers = self._exchange(what, packed(found, {"rows": rows, "wrong": wrong}))
        parts, said = zip(*map(unpacked, answers), strict=True)
        everybodys = sum((Counter(one["rows"]) for one in said), Counter())
        phases = dict.fromkeys(phase for one in said for phase in one["rows"])
        ledger.charge({phase: everybodys[phase] - rows.get(phase, 0) for phase in phases})
        if failed := [one["wrong"] for one in said if one["wrong"]]:
            raise NotFiniteError(failed[0][0], [level for _, levels in failed for level in levels])
        joined = joined_parts(parts)
        ledger.ask()
        return joined

    def _of_first(
        self, what: str, find: Callable[[], Mapping[str, Tensor] | None]
    ) -> Mapping[str, Tensor] | None:
        """Give all ranks what rank 0 finds."""
        data = NOTHING
        if self.rank == 0:
            found = find()
            data = packed(found or {}, found is not None)
        tensors, there = unpacked(self._exchange(what, data)[0])
        return tensors if there else None

    def _exchange(self, what: str, data: Tensor, status: int = GOES_ON) -> list[Tensor]:
        """Exchange bytes, see `Exchange`; an error brings the profile that all have measured."""
        try:
            return self._everybody(what, data, status)
        except RankError as error:
            error.profile = self._profile
            raise
