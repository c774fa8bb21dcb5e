"""The pass over a source of shelf photos: annotation files kept, photos decoded in threads and stored."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath

from tqdm import tqdm

from stocktake.errors import BadRequest
from stocktake.images import check_photo
from stocktake.ingest_shards import Shard
from stocktake.journal import Journal
from stocktake.parallel import map_bounded
from stocktake.shelf.annotations import Annotations
from stocktake.shelf.sku110k_rows import Sighting
from stocktake.shelf.sku110k_source import Member, Source
from stocktake.storage import Store


@dataclass
class Found:
    """What one worker or all have found in a source."""

    annotations: Annotations = field(default_factory=Annotations)
    sightings: dict[str, Sighting] = field(default_factory=dict)
    beyond_limit: set[str] = field(default_factory=set)
    # photos examined and known before, their bytes; files that are neither, and names that come twice
    counts: Counter[str] = field(default_factory=Counter)
    seconds: float = 0  # of all workers


@dataclass
class Reading:
    """One worker's pass.

    Attributes:
        origin: where files are read.
        target: where photos are stored; None leaves them where they are.
        journal: what an earlier run has found.
        limit: at most this many photos of each split, over all workers.
        shard: whose photos are examined; annotation files are every worker's.
        found: what came out.
        annotation_files: as they were read, by their paths in the source.
    """

    origin: Source
    target: Store | None
    journal: Journal
    limit: int | None
    shard: Shard
    found: Found = field(default_factory=Found)
    annotation_files: dict[str, bytes] = field(default_factory=dict)

    def run(self, workers: int, progress: bool) -> None:
        """Examine every photo; annotation files are parsed as they come, so that a bad row ends it early."""
        found = self.found
        with tqdm(desc="ingest", unit="B", unit_scale=True, disable=None if progress else True) as bar:

            def on_progress(done: int, total: int | None) -> None:
                bar.total = total
                bar.update(done - bar.n)

            photos = self._photos(self.origin.members(on_progress))
            for sighting, is_new in map_bounded(self._examine, photos, workers):
                found.sightings[sighting.name] = sighting
                found.counts["bytes"] += sighting.size
                found.counts["examined" if is_new else "known"] += 1
                if is_new:
                    self.journal.add(asdict(sighting))
                bar.set_postfix(photos=len(found.sightings), refresh=False)
        found.annotations.require_rows()

    def _photos(self, members: Iterator[Member]) -> Iterator[Member]:
        """Pass the photos on that are to be read; everything else is dealt with here.

        Workers see the same files, so they agree on which photo is beyond the limit; each counts its own.
        """
        taken: set[str] = set()
        per_split: Counter[str] = Counter()
        annotations, counts = self.found.annotations, self.found.counts
        for member in members:
            if self.origin.store and member.photo and not taken:
                annotations.require_rows()  # they come first here: told before hours of decoding
            if member.annotations:
                self.annotation_files[member.path] = member.read()
                annotations.add(member.path, self.annotation_files[member.path])
            elif member.photo is None:
                counts["other_files"] += self.shard.has(member.path)
            elif member.photo in taken:
                counts["repeated_files"] += self.shard.has(member.photo)
            else:
                taken.add(member.photo)
                rows = annotations.photos.get(member.photo)
                split = rows.split if rows else member.photo.partition("_")[0]
                per_split[split] += 1
                if not self.shard.has(member.photo):
                    continue
                if self.limit and per_split[split] > self.limit:
                    self.found.beyond_limit.add(member.photo)
                else:
                    yield member

    def _examine(self, member: Member) -> tuple[Sighting, bool]:
        """Runs in threads: digest, decode, store; what an earlier run found is taken where it still holds."""
        assert member.photo is not None
        record = self.journal.records.get(member.photo)
        known = Sighting(**record) if record else None
        same_version = (
            known and member.version and (known.version, known.size) == (member.version, member.size)
        )
        if known and same_version and self._is_stored(known):
            return known, False
        data = member.read()
        digest = hashlib.sha256(data).hexdigest()
        if known and (known.sha256, known.version) == (digest, member.version) and self._is_stored(known):
            return known, False
        key = _stored_key(member.photo, digest) if self.target else member.path
        sighting = _look_at(data, digest, member, key)
        if self.target and not sighting.problem and not self.target.holds(key, len(data), digest):
            self.target.put(key, data, digest)
        return sighting, True

    def _is_stored(self, known: Sighting) -> bool:
        if self.target is None or known.problem:
            return True
        found = self.target.stat(known.key)
        return found is not None and found.size == known.size


def _stored_key(photo: str, digest: str) -> str:
    """Names the bytes too: another archive's photo of this name must not take the place of one in use."""
    path = PurePosixPath(photo)
    return f"images/{path.stem}-{digest[:16]}{path.suffix}"


def _look_at(data: bytes, digest: str, member: Member, key: str) -> Sighting:
    assert member.photo is not None
    try:
        info = check_photo(data)
    except BadRequest as error:
        return Sighting(member.photo, key, len(data), member.version, digest, problem=str(error))
    facts = (info.width, info.height, info.format, info.mode, info.exif_orientation)
    return Sighting(member.photo, key, len(data), member.version, digest, *facts)
