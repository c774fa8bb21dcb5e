"""Photos that are unpacked now: bytes that they may take together, in all threads of a process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

AT_ONCE = 400_000_000  # bytes: as much as the largest photo takes that is let in, by `check_memory`


class Unpacking:
    """How much of `most` bytes is taken. Threads wait for the rest, each in its turn."""

    def __init__(self, most: int = AT_ONCE):
        self._most, self._held = most, 0
        self._freed, self._turn = threading.Condition(), threading.Lock()

    @contextmanager
    def hold(self, size: int, wait: bool = True) -> Iterator[bool]:
        """Take so many bytes as soon as they are free; more than all of them are all of them.

        Without `wait`, false is given and nothing is taken where they are not free now.
        """
        size = min(size, self._most)
        is_held = self._take(size, wait)
        try:
            yield is_held
        finally:
            if is_held:
                with self._freed:
                    self._held -= size
                    self._freed.notify()

    def _take(self, size: int, wait: bool) -> bool:
        if not wait:
            with self._freed:
                is_free = not self._turn.locked() and self._held + size <= self._most
                self._held += size if is_free else 0
            return is_free
        with self._turn, self._freed:  # who wants little does not overtake who wants much
            self._freed.wait_for(lambda: self._held + size <= self._most)
            self._held += size
        return True
