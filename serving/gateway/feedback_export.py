"""Feedback on its way to the next evaluation: the records as a feedback index."""

from collections import Counter
from collections.abc import Iterator, Sequence

from serving.gateway.answering import photo_uri
from serving.gateway.fields import utc_text
from serving.gateway.records import feedback
from serving.gateway.records.database import Records
from serving.gateway.records.tables import Feedback, Photo
from stocktake.feedback import LabelledPhoto, write_feedback


def export_feedback(records: Records, photos: str, to: str) -> str:
    """Write all feedback to the file or s3:// object `to`; `photos` is the URI of the photo store.

    Returns:
        What was written and what was left out, in one line.

    Raises:
        StoreError: the place cannot be written.
        Unavailable: the records cannot be read.
    """
    left_out: Counter[str] = Counter()
    written = write_feedback(_labelled(records, photos, left_out), to)
    gone = f"; left out: {left_out['expired']} whose files were deleted" if left_out["expired"] else ""
    return f"{to}: {written} photos with feedback{gone}"


def _labelled(records: Records, photos: str, left_out: Counter[str]) -> Iterator[LabelledPhoto]:
    with records.read() as session:
        for photo, said in feedback.labelled_photos(session):
            if photo.expired_at is not None or photo.report is None:
                left_out["expired"] += 1
            else:
                yield _label(photo, said, photo_uri(photos, photo.sha256))


def _label(photo: Photo, said: Sequence[Feedback], uri: str) -> LabelledPhoto:
    report = photo.report or {}
    verdicts = {one.void: one.verdict for one in said if one.void is not None}
    missed = [box for one in said if one.verdict == "missed" and (box := feedback.box_of(one))]
    return LabelledPhoto.model_validate(
        {
            "uri": uri,
            "sha256": photo.sha256,
            "length": photo.size,
            "width": photo.width,
            "height": photo.height,
            "task": photo.task,
            "group": f"{photo.store}/{photo.bay}" if photo.bay else photo.sha256,
            "taken_at": utc_text(photo.taken_at),
            "model": photo.model,
            "model_version": photo.model_version,
            "products": photo.products or [],
            "voids": [
                {**void, "verdict": verdicts.get(number)}
                for number, void in enumerate(report.get("voids", []))
            ],
            "missed": missed,
            "count": photo.count,
            "counted": next((one.count for one in said if one.verdict == "count"), None),
        }
    )
