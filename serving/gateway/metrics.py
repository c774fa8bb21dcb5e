"""What Prometheus can scrape from /metrics. Labels never come from a client: routes are templates."""

from prometheus_client import Counter, Gauge, Histogram
from sqlalchemy import func, select

from serving.gateway.records.database import Records
from serving.gateway.records.tables import OVER, Photo, State, now

BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

REQUESTS = Counter("stocktake_gateway_requests", "Requests answered", ["route", "method", "code"])
REQUEST_SECONDS = Histogram(
    "stocktake_gateway_request_seconds", "Until an answer begins", ["route", "method"], buckets=BUCKETS_S
)
PHOTOS_TAKEN = Counter("stocktake_gateway_photos_taken", "Photos that came in, and how", ["task", "way"])
PHOTOS = Gauge("stocktake_gateway_photos", "Photos that are not over, or were given up", ["state"])
OLDEST = Gauge(
    "stocktake_gateway_oldest_photo_seconds", "Since the oldest photo that is not over came in, or 0"
)
QUEUE_LENGTH = Gauge("stocktake_gateway_queue_length", "Photos in the queue, those at work included")

WATCHED = (*(state for state in State if state not in OVER), State.DEAD)  # few; all others are history


def count_photos(records: Records) -> None:
    """Look at the records for PHOTOS and OLDEST."""
    query = (
        select(Photo.state, func.count().label("photos"), func.min(Photo.received_at).label("since"))
        .where(Photo.state.in_(WATCHED))
        .group_by(Photo.state)
    )
    with records.read() as session:
        rows = session.execute(query).all()
    counts = {row.state: row.photos for row in rows}
    for state in WATCHED:
        PHOTOS.labels(state.value).set(counts.get(state, 0))
    waiting = [(now() - row.since).total_seconds() for row in rows if row.state not in OVER]
    OLDEST.set(max([0.0, *waiting]))
