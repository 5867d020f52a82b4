"""Exchanges of bytes between ranks: everybody tells everybody.

There is no other kind. The head of an exchange says which one it is, and whether that rank goes on.
So a rank that fails answers the exchange which the others wait in, whichever it is, and nobody
waits for ever; and ranks that have come to different decisions notice.

The optimisation's few numbers go through main memory and gloo, also where the processes themselves
use nccl: gloo notices at once when a rank is gone, where nccl waits and then ends the process.
"""

from __future__ import annotations

import hashlib
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch import distributed as dist

from ..profile.profile import Profile
from .parts import unpacked

if TYPE_CHECKING:  # a torch without torch.distributed has no such name
    from torch.distributed import ProcessGroup

__all__ = ["GOES_ON", "HAS_FAILED", "Exchange", "LostRankError", "RankError"]

GOES_ON, HAS_FAILED = 0, 1  # in the head of an exchange


class RankError(RuntimeError):
    """An optimisation on several ranks cannot go on, because of another rank.

    profile: what all ranks together have measured of it before; None: nothing
    """

    profile: Profile | None = None


class LostRankError(RankError):
    """A rank is gone, or has not answered in time."""


class Exchange:
    """Everybody tells everybody, through a gloo group of its own.

    seconds: spent in exchanges so far, with waiting for the slowest rank
    bytes:   received in them so far
    phase:   of the optimisation, for errors

    Arguments as for `Ranks`, which are checked here.
    """

    def __init__(self, group: ProcessGroup | None, timeout: float):
        _check_available()
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
        self.phase = "start"
        self.seconds, self.bytes = 0.0, 0

    def __call__(self, what: str, data: Tensor, status: int = GOES_ON) -> list[Tensor]:
        """Exchange bytes [N_r]: everybody's, in the order of ranks.

        Raises RankError where a rank is gone, has failed, or is at another exchange than this.
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
            raise self._lost() from error
        except BaseException:  # half an exchange: there can be no other
            self._leave()
            raise
        self.seconds += time.perf_counter() - began
        self.bytes += heads.nbytes + sum(lengths) - head.nbytes - len(data)
        if status != HAS_FAILED:
            self._check(statuses, labels, given)
        return given

    def _check(self, statuses: list[int], labels: list[int], given: list[Tensor]) -> None:
        """Raise RankError where another rank has failed, or is at another exchange."""
        if HAS_FAILED in statuses:
            rank = statuses.index(HAS_FAILED)
            raise RankError(
                f"Process {rank} of {self.size} has ended the optimisation during the phase "
                f"'{self.phase}': {unpacked(given[rank])[1]}. Its own output says more."
            )
        if len(set(labels)) > 1:
            raise RankError(
                f"The {self.size} processes have come to different decisions during the phase "
                f"'{self.phase}': give all of them the same arguments, and run them on machines "
                "of one kind."
            )

    def _gathered(self, data: Tensor, lengths: list[int]) -> list[Tensor]:
        """The numbers [N_r] of every rank, whose lengths are known."""
        if self.group is None:
            raise RuntimeError("The group was left.")
        senders = [rank for rank, length in enumerate(lengths) if length]
        padded = data.new_zeros(max(lengths))
        padded[: len(data)] = data
        given = [padded] * self.size
        if len(senders) == 1:  # the others need not send as much
            source = dist.get_global_rank(self.group, senders[0])
            dist.broadcast(padded, source, group=self.group)
        elif senders:
            given = [torch.empty_like(padded) for _ in lengths]
            dist.all_gather(given, padded, group=self.group)
        return [one[:length] for one, length in zip(given, lengths, strict=True)]

    def _lost(self) -> LostRankError:
        return LostRankError(
            f"One of {self.size} processes is gone, or has not answered within {self.timeout:g} s, "
            f"during the phase '{self.phase}'. Start again with the same journal, and with "
            f"least_batch={self.size} if with fewer processes: what is recorded there is not "
            "measured again."
        )

    def _leave(self) -> None:
        """End what is left of the group, so that a rank still waiting in it notices too."""
        group, self.group = self.group, None
        if group is not None:
            dist.destroy_process_group(group)


def _check_available() -> None:
    """Raise RuntimeError unless this process can talk to others."""
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
