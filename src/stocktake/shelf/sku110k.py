"""SKU-110K in, index out: every photo decoded to its last byte, every row accounted for."""

import hashlib
import logging
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from stocktake.archive import public_url
from stocktake.dataset import DRAWN_LICENCE, DatasetIndex
from stocktake.errors import BadRequest, DataError, SettingsError
from stocktake.images import check_photo
from stocktake.journal import Journal
from stocktake.parallel import map_bounded
from stocktake.settings import Settings, load_settings
from stocktake.shelf.annotations import Annotations
from stocktake.shelf.ingest_report import IngestReport, make_report
from stocktake.shelf.sku110k_exclusions import EXCLUSIONS
from stocktake.shelf.sku110k_rows import Sighting, join_rows
from stocktake.shelf.sku110k_source import Member, Source, open_source
from stocktake.storage import Store, join_uri, open_store

logger = logging.getLogger(__name__)

LICENCE = "SKU-110K: academic and non-commercial use only, no redistribution"


def ingest(
    source: str,
    out_dir: Path,
    store: str | None = None,
    copy: bool = False,
    exclude: str = "unreadable",
    workers: int | None = None,
    limit: int | None = None,
    name: str | None = None,
    licence: str | None = None,
    progress: bool = True,
) -> IngestReport:
    """Read a data set in SKU-110K's layout and write `out_dir`/{index.parquet, report.json, report.html}.

    Every photo is decoded to its last byte. Boxes are taken as they stand, in the frame of the photo after
    EXIF rotation; clipping is label preparation's work. A run that was killed continues: what is known is not
    read again (folder, s3://) or not decoded and stored again (archive).

    Args:
        source: a folder, a .tar or .tar.gz file, an http(s) URL of one, or s3://bucket/prefix, with the
            folders `images` and `annotations`. Folders and prefixes are referenced in place, never written.
        out_dir: made if needed.
        store: where the photos of an archive go, as datasets/<name>/images/<photo>-<digest>.<suffix>, so that
            archives of one name never overwrite each other's; STOCKTAKE_STORE when None.
        copy: put the photos of a folder or a prefix into the store too.
        exclude: "unreadable" leaves out what can't be decoded; "strict" also the published list of 54 photos;
            "none" takes an unreadable photo for an error. Names by reason are in the index's metadata.
        workers: threads; when None one per core, or at least eight where photos cross a network.
        limit: at most this many photos of each split, for a quick look.
        name: of the data set; the source's own name when None.
        licence: of the photos; SKU-110K's own when None, and another for drawn photos.
        progress: show a bar on a terminal.

    Raises:
        DataError: the source is missing, empty or malformed, or nothing usable is left.
        StoreError: the store can't be reached or written.
        SettingsError: an argument has an impossible value.
    """
    settings = load_settings()
    _check_arguments(exclude, workers, limit)
    begun = time.monotonic()
    origin = open_source(source)
    name = name or _default_name(source)
    target = None
    if copy or origin.store is None:
        target = open_store(join_uri(store or settings.store, "datasets", name), settings)
    home = target or origin.store
    assert home is not None
    source = public_url(source)
    about = {"source": source, "store": home.uri, "stocktake": version("stocktake")}
    with Journal(out_dir / "ingest.journal.jsonl", about) as journal:
        gathering = _Gathering(origin, target, journal, limit)
        gathering.run(workers or _workers(settings, origin, home), progress)
    annotations = gathering.annotations
    annotations.finish()
    joined = join_rows(annotations, gathering.sightings, gathering.beyond_limit, exclude == "strict")
    metadata = {
        "name": name,
        "source": source,
        "licence": licence or (DRAWN_LICENCE if annotations.knows_voids else LICENCE),
        "exclude": exclude,
        "left_out": {reason: sorted(names) for reason, names in sorted(joined.left_out.items()) if names},
    }
    index = DatasetIndex(joined.photos, home.uri, metadata)
    report = make_report(index, annotations, joined, gathering.counts, time.monotonic() - begun)
    _check_outcome(report, exclude, out_dir)
    index.write(out_dir / "index.parquet")
    report.write(out_dir, index)
    logger.info("%d of %d photos kept; %s", report.photos_kept, report.photos_found, report.reasons())
    return report


@dataclass
class _Gathering:
    """The pass over the source: annotation files kept, photos examined in threads and stored."""

    origin: Source
    target: Store | None
    journal: Journal
    limit: int | None
    annotations: Annotations = field(default_factory=Annotations)
    sightings: dict[str, Sighting] = field(default_factory=dict)
    beyond_limit: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)

    def run(self, workers: int, progress: bool) -> None:
        """Examine every photo; annotation files are parsed as they come, so that a bad row ends it early."""
        with tqdm(desc="ingest", unit="B", unit_scale=True, disable=None if progress else True) as bar:

            def on_progress(done: int, total: int | None) -> None:
                bar.total = total
                bar.update(done - bar.n)

            photos = self._photos(self.origin.members(on_progress))
            for sighting, is_new in map_bounded(self._examine, photos, workers):
                self.sightings[sighting.name] = sighting
                self.counts["bytes"] += sighting.size
                self.counts["examined" if is_new else "known"] += 1
                if is_new:
                    self.journal.add(asdict(sighting))
                bar.set_postfix(photos=len(self.sightings), refresh=False)

    def _photos(self, members: Iterator[Member]) -> Iterator[Member]:
        """Pass the photos on that are to be read; everything else is dealt with here."""
        taken: set[str] = set()
        per_split: Counter[str] = Counter()
        for member in members:
            if self.origin.store and member.photo and not taken:
                self.annotations.require_rows()  # they come first here: told before hours of decoding
            if member.annotations:
                self.annotations.add(member.path, member.read())
            elif member.photo is None:
                self.counts["other_files"] += 1
            elif member.photo in taken:
                self.counts["repeated_files"] += 1
            else:
                taken.add(member.photo)
                rows = self.annotations.photos.get(member.photo)
                split = rows.split if rows else member.photo.partition("_")[0]
                per_split[split] += 1
                if self.limit and per_split[split] > self.limit:
                    self.beyond_limit.add(member.photo)
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


def _workers(settings: Settings, origin: Source, home: Store) -> int:
    uris = [home.uri, origin.store.uri if origin.store else ""]
    return settings.transfer_workers if any("://" in uri for uri in uris) else settings.cpu_workers


def _default_name(source: str) -> str:
    last = source.rstrip("/").rpartition("/")[2].partition("?")[0]
    last = re.sub(r"\.(tar|tgz|tar\.\w+)$", "", last)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip(".-") or "shelves"


def _check_arguments(exclude: str, workers: int | None, limit: int | None) -> None:
    if exclude not in EXCLUSIONS:
        raise SettingsError(f"exclude must be one of {', '.join(EXCLUSIONS)}, found {exclude!r}")
    for label, value in (("workers", workers), ("limit", limit)):
        if value is not None and value < 1:
            raise SettingsError(f"{label} must be at least 1, found {value}")


def _check_outcome(report: IngestReport, exclude: str, out_dir: Path) -> None:
    unreadable = report.left_out.get("unreadable", {})
    if exclude == "none" and unreadable:
        name, why = next(iter(unreadable.items()))
        raise DataError(
            f"{len(unreadable)} photos cannot be read, the first is {name}: {why}; fix them or pass "
            "exclude='unreadable' to leave them out"
        )
    if not report.photos_kept:
        report.write(out_dir, None)
        raise DataError(f"no usable photo is left ({report.reasons()}); see {out_dir / 'report.json'}")
