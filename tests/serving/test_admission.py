import contextlib

import pytest

from serving.predictors.admission import Capacity
from serving.predictors.errors import Overloaded
from serving.predictors.protocol import MAX_PHOTOS
from stocktake.errors import SettingsError


class Clock:
    """Seconds that pass when the test says so."""

    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def entered():
    """`entered.enter_context(door.place())` leaves when the test ends."""
    with contextlib.ExitStack() as stack:
        yield stack


def fill(stack, door, most=10**6):
    """Take places until there are none, or `most`. Returns how many."""
    for number in range(most):
        try:
            stack.enter_context(door.place())
        except Overloaded:
            return number
    return most


def test_as_many_requests_as_there_are_places(entered):
    door = Capacity(requests=3).admission("model", 2)
    assert fill(entered, door) == 3

    with pytest.raises(Overloaded):
        door.place().__enter__()


def test_an_answer_frees_its_place_whatever_it_is():
    door = Capacity(requests=1).admission("model", 2)
    for _ in range(3):
        with contextlib.suppress(ZeroDivisionError), door.place(), door.photos(MAX_PHOTOS):
            raise ZeroDivisionError
    with door.place(), door.photos(MAX_PHOTOS):
        pass


def test_bodies_have_so_many_bytes_at_a_time(entered):
    door = Capacity(bodies_bytes=100).admission("model", 2)
    first, second = entered.enter_context(door.place()), door.place()
    first.hold(40)
    with second as place:
        place.hold(50)
        with pytest.raises(Overloaded):
            place.hold(11)
        place.hold(10)
    first.hold(60)  # what the second held is free again
    with pytest.raises(Overloaded):
        first.hold(1)


def test_bodies_for_one_model_leave_room_for_another(entered):
    capacity = Capacity(bodies_bytes=100)
    busy, other = (capacity.admission(name, 2) for name in ("busy", "other"))
    entered.enter_context(busy.place()).hold(100)
    place = entered.enter_context(other.place())
    place.hold(50)
    with pytest.raises(Overloaded):
        place.hold(1)


@pytest.mark.parametrize(("slots", "requests", "further"), [(2, 48, 126), (16, 128, 128), (64, 512, 512)])
def test_limits_grow_with_what_models_do_at_a_time(slots, requests, further):
    capacity = Capacity()
    capacity.admission("small", 1)
    capacity.admission("model", slots)
    assert (capacity.most_requests, capacity.most_further_photos) == (requests, further)


def test_limits_may_be_given():
    capacity = Capacity(requests=5, further_photos=63)
    capacity.admission("model", 64)
    assert (capacity.most_requests, capacity.most_further_photos) == (5, 63)


@pytest.mark.parametrize(
    ("limits", "message"),
    [({"requests": 0}, "at most 0 requests"), ({"further_photos": 62}, "at most 62 further photos: give 63")],
)
def test_limits_under_which_a_request_would_never_be_answered(limits, message):
    with pytest.raises(SettingsError, match=message):
        Capacity(**limits)


def test_whatever_one_model_is_asked_the_others_can_be_asked_too(entered):
    capacity = Capacity(requests=9)
    greedy, second, third = (capacity.admission(name, 2) for name in "abc")
    assert fill(entered, greedy) == 9
    assert fill(entered, second) == 3
    assert fill(entered, third) == 3
    assert fill(entered, greedy) == 0


def test_one_model_may_use_what_the_others_leave(entered):
    capacity = Capacity(requests=9)
    first, second = capacity.admission("a", 2), capacity.admission("b", 2)
    assert fill(entered, second, 2) == 2
    assert fill(entered, first) == 7


def test_a_model_that_is_loaded_again_keeps_its_door(entered):
    capacity = Capacity(requests=4)
    assert fill(entered, capacity.admission("model", 2)) == 4
    assert fill(entered, capacity.admission("model", 2)) == 0


def test_photos_of_big_requests_have_a_limit_of_their_own(entered):
    door = Capacity(requests=10, further_photos=100).admission("model", 2)
    entered.enter_context(door.photos(MAX_PHOTOS))
    with pytest.raises(Overloaded):
        door.photos(MAX_PHOTOS).__enter__()
    entered.enter_context(door.photos(38))  # 63 + 37 = 100
    with pytest.raises(Overloaded):
        door.photos(2).__enter__()
    for _ in range(9):  # and single photos need none of it
        entered.enter_context(door.place())
        entered.enter_context(door.photos(1))


def test_one_full_request_of_each_model_always_fits(entered):
    capacity = Capacity(further_photos=63)
    doors = [capacity.admission(name, 2) for name in "abcd"]
    for door in doors:
        entered.enter_context(door.photos(MAX_PHOTOS))
    with pytest.raises(Overloaded):
        doors[0].photos(2).__enter__()


def serve(clock, door, photos, seconds):
    with door.place(), door.photos(photos):
        clock.now += seconds


def test_when_to_come_back_is_when_what_is_inside_is_done(entered):
    clock = Clock()
    capacity = Capacity(requests=21, clock=clock)
    door = capacity.admission("model", 2)
    fill(entered, door, 20)
    assert capacity.retry_after() == 1  # nobody knows yet

    for _ in range(5):
        serve(clock, door, photos=2, seconds=1)  # two photos each second

    assert capacity.retry_after() == 10
    entered.enter_context(door.place())
    with pytest.raises(Overloaded, match="come back in 11 s") as caught:
        door.place().__enter__()
    assert caught.value.retry_after == 11


def test_coming_back_takes_a_second_at_least_and_a_minute_at_most(entered):
    clock = Clock()
    capacity = Capacity(clock=clock)
    door = capacity.admission("model", 2)
    fill(entered, door, 3)
    for _ in range(20):
        serve(clock, door, photos=1, seconds=0.001)
    assert capacity.retry_after() == 1
    clock.now += 10_000  # stuck
    assert capacity.retry_after() == 60


def test_only_good_answers_and_only_late_ones_make_the_rate(entered):
    clock = Clock()
    capacity = Capacity(clock=clock)
    door = capacity.admission("model", 2)
    serve(clock, door, photos=64, seconds=1)
    serve(clock, door, photos=64, seconds=1)
    clock.now += 10_000  # nobody asks
    fill(entered, door, 10)
    assert capacity.retry_after() == 1

    for _ in range(3):
        serve(clock, door, photos=1, seconds=2)
        with contextlib.suppress(ZeroDivisionError), door.place(), door.photos(64):
            raise ZeroDivisionError
    assert capacity.retry_after() == 20  # ten photos, one in two seconds
