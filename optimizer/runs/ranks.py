"""One optimisation on several processes, each with a device of its own: the ranks.

Every rank makes every decision, from the same numbers. Of each batch of noise a rank runs its own
rows only; what all have found is gathered and joined in the order of the noises (rank_parts.py).
As noise depends on (seed, stream, index) alone, that is what one process would have found with the
whole batch, up to rounding.

All that ranks say to one another is one kind of exchange: everybody tells everybody. Its head says
which one it is, and whether that rank goes on. So a rank that fails answers the exchange which the
others wait in, whichever it is, and nobody waits for ever; and ranks that have come to different
decisions notice.

The optimisation's few numbers go through main memory and gloo, also where the processes themselves
use nccl: gloo notices at once when a rank is gone, where nccl waits and then ends the process.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch import distributed as dist

from ..profile.profile import Profile
from .finish import Finish
from .journal import Journal
from .ledger import Ledger
from .meter import NotFiniteError
from .rank_parts import joined_parts, packed, unpacked

if TYPE_CHECKING:  # a torch without torch.distributed has no such name
    from torch.distributed import ProcessGroup

__all__ = ["LostRankError", "OneProcess", "RankError", "Ranks"]

Together = Callable[[str, Callable[[], Mapping[str, Tensor]]], Mapping[str, Tensor]]

TIMEOUT = 1800.0  # seconds: the slowest model's first call is far below
GOES_ON, HAS_FAILED = 0, 1  # in the head of an exchange
NOTHING = torch.empty(0, dtype=torch.uint8)


class RankError(RuntimeError):
    """An optimisation on several ranks cannot go on, because of another rank.

    profile: what all ranks together have measured of it before; None: nothing
    """

    def __init__(self, message: str, profile: Profile | None = None):
        super().__init__(message)
        self.profile = profile


class LostRankError(RankError):
    """A rank is gone, or has not answered in time."""


class OneProcess:
    """One process that runs everything: what `optimize` is without ranks."""

    rank, size, apart = 0, 1, False

    def keep(self, profile: Profile) -> None:
        """Nothing to keep it for: no other process can be lost."""

    def rows(self, count: int) -> slice:
        """The rows of so many that are this process' own."""
        return slice(0, count)

    @contextmanager
    def whole(self, arguments: str) -> Iterator[None]:
        """Around one optimisation."""
        yield

    def shared(
        self, journal: Journal | None, finish: Finish | None
    ) -> tuple[Journal | None, Finish | None]:
        """The journal and the limit that all ranks follow."""
        return journal, finish

    def together(
        self, what: str, measure: Callable[[], Mapping[str, Tensor]], ledger: Ledger
    ) -> Mapping[str, Tensor]:
        """Measure the rows of one batch of noise: all are this process'."""
        return measure()

    def profile(
        self,
        count: int,
        batch: int,
        walk: Callable[[range], Profile],
        together: Together,
        enough: Callable[[], bool],
    ) -> Profile:
        """Measure with all ranks on so many samples."""
        return walk(range(count))


class _Exchange:
    """One kind of exchange: everybody tells everybody, through a gloo group of its own.

    seconds: spent in exchanges so far, with waiting for the slowest rank
    bytes:   received in them so far

    Arguments as for `Ranks`, which are checked here.
    """

    def __init__(self, group: ProcessGroup | None, timeout: float):
        if not dist.is_available():
            raise RuntimeError(
                "This build of torch has no torch.distributed: install one that has, or leave out "
                "`ranks`."
            )
        if not dist.is_initialized():
            raise RuntimeError(
                "torch.distributed is not initialised: start the script with torchrun and call "
                "torch.distributed.init_process_group, or leave out `ranks`."
            )
        if not dist.is_gloo_available():
            raise RuntimeError(
                "This build of torch has no gloo, through which ranks exchange what they find: "
                "install one that has, or leave out `ranks`."
            )
        if dist.get_rank(group) < 0:
            raise ValueError("This process is not in the group: make Ranks in its members only.")
        members = None if group is None else dist.get_process_group_ranks(group)
        self.group: ProcessGroup | None = dist.new_group(
            members,
            timeout=timedelta(seconds=timeout),
            backend="gloo",
            use_local_synchronization=members is not None,  # the others need not take part
        )
        self.rank, self.size = dist.get_rank(self.group), dist.get_world_size(self.group)
        self.timeout = timeout
        self.seconds, self.bytes = 0.0, 0

    def __call__(
        self,
        what: str,
        data: Tensor,
        status: int = GOES_ON,
        *,
        phase: str,
        profile: Profile | None,
    ) -> list[Tensor]:
        """Exchange bytes [N_r]: everybody's, in the order of ranks.

        Raises RankError, with the phase and the profile, where a rank is gone, has failed, or is at
        another exchange than this.
        """
        label = int.from_bytes(hashlib.blake2b(what.encode(), digest_size=7).digest(), "big")
        head = torch.tensor([status, len(data), label])
        began = time.perf_counter()
        try:
            heads = torch.stack(self._gathered(head, [len(head)] * self.size))
            statuses, lengths, labels = heads.T.tolist()
            given = self._gathered(data, lengths)
        except RuntimeError as error:
            self._leave()
            raise self._lost(phase, profile) from error
        except BaseException:  # half an exchange: there can be no other
            self._leave()
            raise
        self.seconds += time.perf_counter() - began
        self.bytes += heads.nbytes + sum(lengths) - head.nbytes - len(data)
        if status == HAS_FAILED:
            return given
        for rank, told in enumerate(given):
            if statuses[rank] == HAS_FAILED:
                raise RankError(
                    f"Process {rank} of {self.size} has ended the optimisation during the phase "
                    f"'{phase}': {unpacked(told)[1]}. Its own output says more.",
                    profile,
                )
        if len(set(labels)) > 1:
            raise RankError(
                f"The {self.size} processes have come to different decisions during the phase "
                f"'{phase}': give all of them the same arguments, and run them on machines "
                "of one kind.",
                profile,
            )
        return given

    def _gathered(self, data: Tensor, lengths: list[int]) -> list[Tensor]:
        """The numbers [N_r] of every rank, whose lengths are known."""
        if self.group is None:
            raise RuntimeError("The group was left.")
        senders = [rank for rank, length in enumerate(lengths) if length]
        padded = data.new_zeros(max(lengths))
        padded[: len(data)] = data
        given = [padded] * self.size
        if len(senders) == 1:  # the others need not send as much
            dist.broadcast(padded, self._global(senders[0]), group=self.group)
        elif senders:
            given = [torch.empty_like(padded) for _ in lengths]
            dist.all_gather(given, padded, group=self.group)
        return [one[:length] for one, length in zip(given, lengths, strict=True)]

    def _global(self, rank: int) -> int:
        """The number of a rank of the group among all processes."""
        assert self.group is not None
        return dist.get_global_rank(self.group, rank)

    def _lost(self, phase: str, profile: Profile | None) -> LostRankError:
        return LostRankError(
            f"One of {self.size} processes is gone, or has not answered within {self.timeout:g} s, "
            f"during the phase '{phase}'. Start again with the same journal, and with "
            f"least_batch={self.size} if with fewer processes: what is recorded there is not "
            "measured again.",
            profile,
        )

    def _leave(self) -> None:
        """End what is left of the group, so that a rank still waiting in it notices too."""
        group, self.group = self.group, None
        if group is not None:
            dist.destroy_process_group(group)


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

    kept: the profile that all ranks have measured of the last optimisation; None: none yet

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
        self._everybody = _Exchange(group, timeout)
        self.rank, self.size = self._everybody.rank, self._everybody.size
        self.apart = False  # whether this rank is at its own rows now
        self.phase = "start"
        self.kept: Profile | None = None

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
    def whole(self, arguments: str) -> Iterator[None]:
        """Around one optimisation: a rank that ends it early tells the others.

        Raises RankError where another rank has, or was given other arguments.
        """
        self.kept, self.phase = None, "start"
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
        has = self._of_first(
            "what there is",
            lambda: {"has": torch.tensor([journal is not None, finish is not None])},
        )
        assert has is not None
        recorded, limited = has["has"].tolist()
        return (
            _FirstJournal(self, journal) if recorded else None,
            _FirstFinish(self, finish) if limited else None,
        )

    def keep(self, profile: Profile) -> None:
        """Have a profile to return with the error, should a rank be lost."""
        self.kept = profile

    def together(
        self, what: str, measure: Callable[[], Mapping[str, Tensor]], ledger: Ledger
    ) -> Mapping[str, Tensor]:
        """Measure this rank's rows of one batch of noise, and join what all have found.

        Arguments:
            what: is run, the same on all ranks: its phase and, after a comma, anything.
            measure: runs this rank's rows.
            ledger: to which `measure` charges this rank's rows: those of the others are added.

        Raises NotFiniteError with the noise levels of all ranks where it raises one in any, and
        RankError where it raises anything else in another.
        """
        self.phase = what.split(",", 1)[0]
        before, wrong = Counter(ledger.spent), None
        found: Mapping[str, Tensor] = {}
        self.apart = True
        try:
            found = measure()
        except NotFiniteError as error:
            wrong = [error.what, error.levels]
        finally:
            self.apart = False
        rows = {phase: count - before[phase] for phase, count in ledger.spent.items()}
        answers = self._exchange(what, packed(found, {"rows": rows, "wrong": wrong}))
        parts, said = zip(*map(unpacked, answers), strict=True)
        everybodys = sum((Counter(one["rows"]) for one in said), Counter())
        phases = dict.fromkeys(phase for one in said for phase in one["rows"])
        ledger.charge({phase: everybodys[phase] - rows.get(phase, 0) for phase in phases})
        if failed := [one["wrong"] for one in said if one["wrong"]]:
            raise NotFiniteError(failed[0][0], [level for _, levels in failed for level in levels])
        return joined_parts(parts)

    def profile(
        self,
        count: int,
        batch: int,
        walk: Callable[[range], Profile],
        together: Together,
        enough: Callable[[], bool],
    ) -> Profile:
        """Measure with all ranks on so many samples, gathered batch by batch.

        Arguments:
            count: of samples.
            batch: samples that are walked before what was found is gathered.
            walk: measures the profile on some of the samples, perhaps none.
            together: as the method, but that it counts the rows.
            enough: asked after every batch.
        """
        profile: Profile | None = None
        for start in range(0, count, batch):
            rows = range(start, min(start + batch, count))
            own = rows[self.rows(len(rows))]

            def measure(own: range = own) -> dict[str, Tensor]:
                return walk(own).to_tensors(torch.float64)

            found = Profile.from_tensors(together(f"profile, from {start}", measure))
            self.kept = profile = found if profile is None else profile + found
            if enough():
                break
        assert profile is not None
        return profile

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
        """Exchange bytes, see `_Exchange`."""
        return self._everybody(what, data, status, phase=self.phase, profile=self.kept)


class _FirstJournal:
    """Rank 0's journal, whose answers all ranks hear."""

    def __init__(self, ranks: Ranks, journal: Journal | None):
        self.ranks, self.journal = ranks, journal

    def get(self, name: str) -> Mapping[str, Tensor] | None:
        return self.ranks._of_first(f"journal {name}", partial(self._get, name))

    def _get(self, name: str) -> Mapping[str, Tensor] | None:
        assert self.journal is not None
        return self.journal.get(name)

    def put(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        if self.ranks.rank == 0 and self.journal is not None:
            self.journal.put(name, tensors)


class _FirstFinish:
    """Rank 0's limit, whose answers all ranks hear."""

    def __init__(self, ranks: Ranks, finish: Finish | None):
        self.ranks, self.finish = ranks, finish

    def left(self, rows: int) -> float:
        found = self.ranks._of_first("limit", partial(self._left, rows))
        assert found is not None
        return float(found["left"])

    def _left(self, rows: int) -> dict[str, Tensor]:
        assert self.finish is not None
        return {"left": torch.tensor(self.finish.left(rows), dtype=torch.float64)}
