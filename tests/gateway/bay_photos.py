"""Answered photos of a bay, written into the records as a worker would."""

import hashlib
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from serving.gateway.alerts import observe
from serving.gateway.records.database import Records
from serving.gateway.records.tables import Job, Photo, State, Task
from stocktake.alerts.rules import DEFAULTS, AlertRules

START = datetime(2026, 3, 2, 8)
BAY = {"store": "Mitte", "bay": "A1"}
ONE = (0.30, 0.36)
WIDTH, HEIGHT = 1000, 800
NUMBERS = count()


def shelf_report(*voids: tuple[float, float], tier: int = 1, **about: Any) -> dict[str, Any]:
    """What a predictor says of a photo of three tiers with gaps at these shares of its width."""
    found = [
        {
            "box": [WIDTH * x0, 10.0, WIDTH * x1, 90.0],
            "tier": tier,
            "position": 3,
            "facings": 1,
            "confidence": 0.8,
            "kind": "gap",
        }
        for x0, x1 in voids
    ]
    return {"products": 40, "tiers": 3, "osa": 1 - len(found) / 10, "voids": found, **about}


def new_photo(hour: float = 0, task: Task = Task.SHELVES, **fields: Any) -> Photo:
    """A photo that nobody has answered, taken `hour` hours after START; its bytes are nobody else's."""
    digest = hashlib.sha256(str(next(NUMBERS)).encode()).hexdigest()
    known: dict[str, Any] = {"sha256": digest, "size": 9, "width": WIDTH, "height": HEIGHT, "format": "jpeg"}
    return Photo(**{"task": task, "taken_at": START + timedelta(hours=hour), **BAY, **known, **fields})


def answer(records: Records, photo: Photo, report: dict[str, Any], rules: AlertRules = DEFAULTS) -> Photo:
    """Keep a photo as done, and let alerts know, in one transaction."""
    photo.report, photo.state, photo.osa = report, State.DONE, report.get("osa")
    photo.model, photo.model_version = "tiny", "1"
    photo.count, photo.verdict = report.get("count"), report.get("verdict")
    photo.match_probability = report.get("match_probability")
    with records.write() as session:
        session.add(Job(owner="cam", task=photo.task, photos=[photo]))
        observe(session, photo, rules)
    return photo


def show(records: Records, hour: float, *voids: tuple[float, float], **about: Any) -> Photo:
    """One more photo of the bay."""
    places = {name: about.pop(name) for name in ("store", "bay", "sha256") if name in about}
    return answer(records, new_photo(hour, **places), shelf_report(*voids, **about))
