"""Bounded memory of what was read, whatever the files hold."""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["Remembered", "size_in_memory"]

T = TypeVar("T")


class Remembered(Generic[T]):
    """The values used last, as many as have room.

    Arguments:
        most: bytes that all of them may take together.
        size: the bytes of one value.

    >>> squares = Remembered(most=100, size=lambda value: 40)
    >>> [squares.get(key, lambda key=key: print("made", key) or key**2) for key in (1, 2, 1, 3, 2)]
    made 1
    made 2
    made 3
    made 2
    [1, 4, 1, 9, 4]
    """

    def __init__(self, most: int, size: Callable[[T], int]):
        self.most = most
        self.size = size
        self.used = 0
        self._values: OrderedDict[Hashable, tuple[T, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value of a key, made if it is not remembered; what `make` raises is raised."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key][0]
        value = make()  # without the lock: it may take long
        size = self.size(value)
        with self._lock:
            if key not in self._values:
                self._values[key] = value, size
                self.used += size
            while self.used > self.most:
                _, (_, freed) = self._values.popitem(last=False)
                self.used -= freed
        return value


def size_in_memory(value: object) -> int:
    """The bytes of a value of JSON types, about; tuples count too."""
    total, rest = 0, [value]
    while rest:
        part = rest.pop()
        total += sys.getsizeof(part)
        if isinstance(part, dict):
            rest += [*part, *part.values()]
        elif isinstance(part, list | tuple):
            rest += part
    return total
