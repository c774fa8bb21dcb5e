"""The pass over a source: metadata and photos read in threads, in the order of the ids, bucket by bucket."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from tqdm import tqdm

from stocktake.bins.abid_metadata import NoQuantityError, parse_metadata
from stocktake.bins.abid_parts import Bin, Part, read_part, write_part
from stocktake.bins.abid_selection import Selection
from stocktake.bins.abid_source import Entry, Listing
from stocktake.bins.shards import ShardWriter, new_shard
from stocktake.errors import BadRequest, DataError
from stocktake.images import check_photo
from stocktake.ingest_shards import FOLDER
from stocktake.parallel import map_in_order
from stocktake.storage import Store

FORMAT = 1  # of parts, and of the rules that made them; another one makes them anew


@dataclass
class Run:
    """What this run had to do."""

    read: int = 0  # bins whose files were read
    known: int = 0  # bins that an earlier run had dealt with
    bytes: int = 0  # of photos read


@dataclass(frozen=True, slots=True)
class _Begin:
    """Comes before the first entry of a bucket."""

    bucket: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class _Seen:
    """A bin that was read, and its photo."""

    found: Bin
    data: bytes = b""


@dataclass
class Reading:
    """One worker's pass.

    Attributes:
        origin: where bins are read.
        target: where photos are stored as tar shards; None leaves them where they are.
        out_dir: of the parts.
        about: what is asked for; a part of something else is made again.
        selection: counts what was taken.
        done: what had to be done.
    """

    origin: Store
    target: Store | None
    out_dir: Path
    about: dict[str, Any]
    selection: Selection
    done: Run = field(default_factory=Run)

    def run(self, listing: Listing, workers: int, progress: bool) -> list[str]:
        """Make the parts of a listing, until the selection is full; returns their buckets."""
        buckets: list[str] = []
        bucket: _Bucket | None = None
        bar = tqdm(desc="ingest", total=len(listing.entries), unit="bin", disable=None if progress else True)
        steps = map_in_order(self._look, self._steps(listing), workers)
        with bar, ExitStack() as open_bucket, closing(steps):
            for step in steps:
                if isinstance(step, _Seen):
                    assert bucket is not None
                    bucket.add(self._decide(step), step.data)
                    bar.update()
                else:
                    if bucket:
                        bucket.finish()
                        open_bucket.close()
                    buckets.append(step.bucket)
                    bucket = None
                    if isinstance(step, Part):
                        self._recall(step)
                        bar.update(len(step.bins))
                    else:
                        bucket = open_bucket.enter_context(_Bucket(self, step.bucket, step.fingerprint))
                if self.selection.is_full:
                    break
            if bucket:
                bucket.finish()
        return buckets

    def _steps(self, listing: Listing) -> Iterator[Part | _Begin | Entry]:
        """What is to be looked at: each bucket as it is known, or its beginning and its entries."""
        in_sequence = self.selection.quota is not None or self.selection.limit is not None
        fingerprint = ""
        for bucket, entries in listing.buckets().items():
            # with a quota, what a bucket gives depends on those before it
            fingerprint = _fingerprint(self.about, fingerprint if in_sequence else "", entries)
            part = read_part(self.out_dir, bucket)
            if part and part.fingerprint == fingerprint and self._is_stored(part):
                yield part
            else:
                yield _Begin(bucket, fingerprint)
                yield from entries

    def _is_stored(self, part: Part) -> bool:
        return part.stored is None or bool(self.target and self.target.holds(*part.stored))

    def _look(self, step: Part | _Begin | Entry) -> Part | _Begin | _Seen:
        """Runs in threads; only entries are work."""
        if not isinstance(step, Entry):
            return step
        found = self._read_metadata(step)
        if found.quantity is None or found.reason or not self.selection.wants(found.quantity):
            return _Seen(found)
        assert step.photo is not None
        data = self.origin.get(step.photo)
        found.key, found.name, found.length = step.photo, PurePosixPath(step.photo).name, len(data)
        found.sha256 = hashlib.sha256(data).hexdigest()
        try:
            info = check_photo(data)
        except BadRequest as error:
            found.reason, found.found = "photo_unreadable", str(error)
            return _Seen(found, data)
        found.width, found.height = info.width, info.height
        return _Seen(found, data)

    def _read_metadata(self, entry: Entry) -> Bin:
        found = Bin(entry.id)
        if entry.metadata is None:
            what = "its photo is there" if entry.photo else "nor is its photo"
            found.reason, found.found = "metadata_missing", what
            return found
        try:
            metadata = parse_metadata(self.origin.get(entry.metadata))
        except NoQuantityError as error:
            found.reason, found.found = "no_quantity", str(error)
            return found
        except DataError as error:
            found.reason, found.found = "metadata_unreadable", str(error)
            return found
        found.quantity, found.skus, found.remarks = metadata.quantity, metadata.skus, metadata.remarks
        if entry.listed is not None and entry.listed != found.quantity:
            text = f"listed under {entry.listed}, EXPECTED_QUANTITY is {found.quantity}"
            found.remarks["other_count_in_list"] = text
        if entry.photo is None:
            found.reason, found.found = "photo_missing", f"quantity {found.quantity}"
        return found

    def _decide(self, step: _Seen) -> Bin:
        """In the order of the ids: take the bin, or only remember that it is beyond the quota."""
        found = step.found
        self.done.read += 1
        self.done.bytes += len(step.data)
        if found.quantity is None or found.reason:
            return found
        if not self.selection.wants(found.quantity):
            return Bin(found.id, found.quantity, found.skus)  # may still link its neighbours
        self.selection.take(found.quantity)
        return found

    def _recall(self, part: Part) -> None:
        self.done.known += len(part.bins)
        for found in part.bins:
            if found.key and not found.reason and found.quantity is not None:
                self.selection.take(found.quantity)


class _Bucket(ExitStack):
    """The part in the making, with the tar shard of its photos where they are stored."""

    def __init__(self, reading: Reading, bucket: str, fingerprint: str):
        super().__init__()
        self._reading = reading
        self._part = Part(bucket, fingerprint, [])
        self._shard: ShardWriter | None = None

    def add(self, found: Bin, data: bytes) -> None:
        """Append a bin, and its photo to the shard."""
        self._part.bins.append(found)
        if self._reading.target and found.key and not found.reason:
            if self._shard is None:
                self._shard = self.enter_context(new_shard(self._reading.out_dir / FOLDER))
            found.offset = self._shard.add(found.name, data)

    def finish(self) -> None:
        """Store the shard, then write the part: what a part tells of is there."""
        if self._shard and self._reading.target:
            self._part.stored = self._shard.put(self._reading.target, f"photos-{self._part.bucket}")
            for found in self._part.bins:
                if found.offset is not None:
                    found.key = self._part.stored[0]
        write_part(self._reading.out_dir, self._part)


def _fingerprint(about: dict[str, Any], before: str, entries: list[Entry]) -> str:
    facts = [[entry.id, entry.photo, entry.metadata, entry.stamp, entry.listed] for entry in entries]
    return hashlib.sha256(json.dumps([FORMAT, about, before, facts], sort_keys=True).encode()).hexdigest()
