"""Photos at work beside each other, and one at a time that has to be alone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Company:
    """Belongs to one event loop. Who wants to be alone waits for those inside, and nobody overtakes it."""

    def __init__(self) -> None:
        self._door, self._empty = asyncio.Lock(), asyncio.Event()
        self._inside = 0
        self._empty.set()

    @asynccontextmanager
    async def together(self) -> AsyncIterator[None]:
        """Beside others of this kind."""
        async with self._door:
            self._inside += 1
            self._empty.clear()
        try:
            yield
        finally:
            self._inside -= 1
            if self._inside == 0:
                self._empty.set()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Beside nobody."""
        async with self._door:
            await self._empty.wait()
            yield
