"""Names that are proposed, and what finding them costs."""

import pytest

from serving.gateway.records.database import Records
from serving.gateway.records.places import find_bay_names, find_stores
from serving.gateway.records.tables import Job, State, Task
from tests.gateway.bay_photos import new_photo

BAYS = (("Nord", "B1"), ("Mitte", "A2"), ("Mitte", "A1"), ("", "X"), ("Nord", ""), ("Süd", "A1"))


def add(records: Records, copies: int = 1, task: Task = Task.SHELVES, bays=BAYS) -> None:
    photos = [
        new_photo(hour, task, store=store, bay=bay, state=State.DONE)
        for hour in range(copies)
        for store, bay in bays
    ]
    for place, photo in enumerate(photos):
        photo.place = place
    with records.write() as session:
        session.add(Job(owner="cam", task=task, photos=photos))


def test_stores_and_bays_by_name(records):
    with records.read() as session:
        assert find_stores(session) == find_bay_names(session) == []
    add(records, 3)
    add(records, 2, Task.BINS, [("Lager", "bin 1")])
    with records.read() as session:
        assert find_stores(session) == ["Lager", "Mitte", "Nord", "Süd"]
        assert find_bay_names(session) == ["A1", "A2", "B1"]
        assert find_stores(session, most=2) == ["Lager", "Mitte"]
        assert find_bay_names(session, most=2) == ["A1", "A2"]
        some = frozenset({"Nord", "Ost"})
        assert find_stores(session, some) == ["Nord", "Ost"]
        assert find_bay_names(session, some) == ["B1"]


@pytest.mark.parametrize("find", [find_stores, find_bay_names])
def test_many_photos_of_a_bay_cost_no_more_than_one(tmp_path, find):
    records = Records(f"sqlite:///{tmp_path}/records.db")
    records.migrate()
    add(records)
    few = steps(records, find)
    add(records, 300)
    assert steps(records, find) <= 1.2 * few
    records.close()


def steps(records: Records, find) -> int:
    """Instructions of SQLite's machine that a query takes."""
    counted = []
    with records.read() as session:
        connection = session.connection().connection.driver_connection
        connection.set_progress_handler(lambda: counted.append(1) and None, 1)
        find(session)
        connection.set_progress_handler(None, 0)
    return len(counted)
