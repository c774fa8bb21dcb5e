"""Who may come in: more requests than can be answered soon are refused at once, before their body is read.

A request takes a place when it comes and keeps it until its answer is made. Once its photos are counted,
those beyond the first have a limit of their own: a request of many photos may be refused for them, but takes
no place of others. Each limit is one for the process, whoever comes first, but a model that holds less than
its share of it is never refused: whatever one model is asked, the others can be asked as well. So at worst
nearly twice the limit is inside. The bytes of bodies are limited alike, as they come.
"""

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice

from serving.predictors.errors import Overloaded
from serving.predictors.protocol import MAX_PHOTOS
from stocktake.errors import SettingsError

PER_SLOT = 8  # requests for each photo that is looked at at a time
LEAST_REQUESTS = 48
MOST_FURTHER = MAX_PHOTOS - 1  # of one request
LONGEST_RETRY_S = 60
RECENT = 64  # requests, whose photos make the rate of service


class Capacity:
    """What the process takes in. Used on the event loop only, from where both REST and gRPC are served."""

    def __init__(
        self,
        requests: int | None = None,
        further_photos: int | None = None,
        bodies_bytes: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ):
        """Set the limits.

        Args:
            requests: most at a time; None for 48 or, where that is more, 8 for each photo that the models
                look at at a time.
            further_photos: most photos at a time beyond the first of each request; None for two full requests
                or, where that is more, as many as requests.
            bodies_bytes: most bytes at a time in the bodies of all requests.
            clock: s.

        Raises:
            SettingsError: a limit under which some request would never be accepted.
        """
        if requests is not None and requests < 1:
            raise SettingsError(f"at most {requests} requests: give 1 or more")
        if further_photos is not None and further_photos < MOST_FURTHER:
            raise SettingsError(
                f"at most {further_photos} further photos: give {MOST_FURTHER} or more, for one full request"
            )
        self._wished = requests, further_photos
        self._most_bytes = bodies_bytes
        self._clock = clock
        self._doors: dict[str, Admission] = {}
        self._slots = 1
        self._requests: Counter[str] = Counter()  # inside, by model
        self._further: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        self._served: deque[tuple[float, int]] = deque(maxlen=RECENT)  # when, and of how many photos

    @property
    def most_requests(self) -> int:
        """At a time."""
        return self._wished[0] or max(LEAST_REQUESTS, PER_SLOT * self._slots)

    @property
    def most_further_photos(self) -> int:
        """At a time."""
        return self._wished[1] or max(2 * MOST_FURTHER, PER_SLOT * self._slots)

    def admission(self, model_name: str, slots: int) -> "Admission":
        """The door to a model that looks at `slots` photos at a time; the same for the same name."""
        self._slots = max(self._slots, slots)
        return self._doors.setdefault(model_name, Admission(self, model_name))

    def retry_after(self) -> int:
        """Whole seconds in which what is inside should be done at the rate of late; 1 to 60."""
        served = sum(photos for _, photos in islice(self._served, 1, None))
        if not served:
            return 1
        inside = self._requests.total() + self._further.total()
        elapsed = self._clock() - self._served[0][0]
        return min(max(math.ceil(inside * elapsed / served), 1), LONGEST_RETRY_S)

    def enter(self, model_name: str) -> None:
        """Take a place. Raises Overloaded."""
        self._take(self._requests, model_name, 1, self.most_requests, 1)

    def enter_further(self, model_name: str, photos: int) -> None:
        """Take in the further photos of a request. Raises Overloaded."""
        self._take(self._further, model_name, photos, self.most_further_photos, MOST_FURTHER)

    def enter_bytes(self, model_name: str, size: int) -> None:
        """Take in more bytes of a body. Raises Overloaded."""
        self._take(self._bytes, model_name, size, self._most_bytes, 0)

    def leave(self, model_name: str, size: int) -> None:
        """Give a place back, and all the bytes of its body."""
        self._requests[model_name] -= 1
        self._bytes[model_name] -= size
        if not self._requests.total():
            self._served.clear()  # or the pause that follows would count as slow service

    def leave_further(self, model_name: str, photos: int) -> None:
        """The further photos of a request are done with."""
        self._further[model_name] -= photos

    def count_served(self, photos: int) -> None:
        """A request was answered well."""
        self._served.append((self._clock(), photos))

    def _take(self, inside: Counter[str], model_name: str, count: int, most: float, least_share: int) -> None:
        share = max(most // len(self._doors), least_share)
        if count and inside.total() + count > most and inside[model_name] + count > share:
            raise Overloaded(self.retry_after())
        inside[model_name] += count


class Admission:
    """The door to one model."""

    def __init__(self, capacity: Capacity, model_name: str):
        self._capacity = capacity
        self._model_name = model_name

    @contextmanager
    def place(self) -> Iterator["Place"]:
        """Hold a place for a request, from before its body is read until its answer is made.

        Raises:
            Overloaded: there is none.
        """
        self._capacity.enter(self._model_name)
        place = Place(self._capacity, self._model_name)
        try:
            yield place
        finally:
            self._capacity.leave(self._model_name, place.held)

    @contextmanager
    def photos(self, count: int) -> Iterator[None]:
        """Take in the photos of a request that has a place, while they are looked at.

        Args:
            count: all of them, the first included.

        Raises:
            Overloaded: there are too many of them.
        """
        self._capacity.enter_further(self._model_name, count - 1)
        try:
            yield
            self._capacity.count_served(count)
        finally:
            self._capacity.leave_further(self._model_name, count - 1)


class Place:
    """That of one request; `held` is the bytes of its body so far."""

    def __init__(self, capacity: Capacity, model_name: str):
        self._capacity = capacity
        self._model_name = model_name
        self.held = 0

    def hold(self, size: int) -> None:
        """So many bytes of the body have come, or were unpacked. Raises Overloaded."""
        self._capacity.enter_bytes(self._model_name, size)
        self.held += size
