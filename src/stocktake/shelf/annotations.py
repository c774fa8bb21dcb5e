"""SKU-110K's annotation files: one row per product, one file per split; for drawn photos the voids too."""

import csv
import io
import math
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from stocktake.dataset import TruthVoid
from stocktake.errors import DataError
from stocktake.void_kinds import VOID_KINDS

COLUMNS = ("image_name", "x1", "y1", "x2", "y2", "class", "image_width", "image_height")
VOID_COLUMNS = ("image_name", "x1", "y1", "x2", "y2", "tier", "facings", "kind")
# A name that stands in two files is used in the first of these only, so that no test photo is trained on.
SPLIT_ORDER = ("test", "val", "train")


@dataclass
class PhotoRows:
    """What the annotation files say about one photo."""

    split: str
    # (width, height); more than one is a contradiction
    sizes: set[tuple[int, int]] = field(default_factory=set)
    numbers: array = field(default_factory=lambda: array("f"))  # x1 y1 x2 y2, box after box
    voids: list[TruthVoid] = field(default_factory=list)

    @property
    def boxes(self) -> np.ndarray:
        """(n, 4) float32 xyxy px, as written: neither clipped nor checked."""
        return np.frombuffer(self.numbers, np.float32).reshape(-1, 4).copy()

    @property
    def rows(self) -> int:
        """How many rows the photo has."""
        return len(self.numbers) // 4


@dataclass
class Annotations:
    """All rows of a data set; `rows` = those of `photos` + those of `repeated`."""

    photos: dict[str, PhotoRows] = field(default_factory=dict)
    rows: int = 0
    repeated: Counter[str] = field(default_factory=Counter)  # photo -> rows that a second split lists
    classes: Counter[str] = field(default_factory=Counter)
    knows_voids: bool = False
    _files: dict[str, str] = field(default_factory=dict, repr=False)  # name -> where it was found
    _voids: dict[tuple[str, str], list[TruthVoid]] = field(
        default_factory=lambda: defaultdict(list), repr=False
    )

    def add(self, path: str, data: bytes) -> None:
        """Parse one file, whole; the order of the files does not matter, nor does the folder in `path`.

        `annotations_<split>.csv` has the columns `COLUMNS` and no header; `voids_<split>.csv`, which only
        drawn data has, has a header of `VOID_COLUMNS`.

        Raises:
            DataError: wrong columns, or values that are no numbers, with file and line; or a second file of
                the same name, whose rows would count twice.
        """
        file = path.rpartition("/")[2]
        kind, _, split = file.removesuffix(".csv").rpartition("_")
        if split not in SPLIT_ORDER or kind not in ("annotations", "voids"):
            raise DataError(f"{path}: neither annotations_<split>.csv nor voids_<split>.csv; rename it")
        if file in self._files:
            raise DataError(
                f"{self._files[file]} and {path}: a source may have {file} only once; remove one of them, or "
                "ingest their folders one by one"
            )
        self._files[file] = path
        if kind == "annotations":
            self._add_boxes(path, data, split)
        else:
            self._add_voids(path, data, split)

    def finish(self) -> None:
        """Give the voids to their photos, once all files are there.

        Raises:
            DataError: there are no rows at all, or voids of a photo without rows.
        """
        self.require_rows()
        for (split, name), voids in self._voids.items():
            photo = self.photos.get(name)
            if photo is None:
                raise DataError(f"voids_{split}.csv: {name} has no rows in annotations_{split}.csv")
            if photo.split == split:
                photo.voids.extend(voids)
        self._voids.clear()

    def require_rows(self) -> None:
        """Raise DataError where no row has been read."""
        if not self.rows:
            names = ", ".join(f"annotations_{split}.csv" for split in reversed(SPLIT_ORDER))
            raise DataError(
                f"no annotation rows were found; expected some of {names} in a folder `annotations`"
            )

    def _add_boxes(self, file: str, data: bytes, split: str) -> None:
        for line, row in _rows(file, data, COLUMNS):
            name = _photo_name(file, line, row[0])
            box = _numbers(file, line, row[1:5], COLUMNS[1:5])
            width, height = _numbers(file, line, row[6:8], COLUMNS[6:8])
            if width < 1 or height < 1:
                raise DataError(
                    f"{file}:{line}: the photo's size {row[6]}x{row[7]} is impossible; fix the row"
                )
            self.rows += 1
            self.classes[row[5]] += 1
            photo = self.photos.setdefault(name, PhotoRows(split))
            if photo.split != split:
                if SPLIT_ORDER.index(photo.split) < SPLIT_ORDER.index(split):
                    self.repeated[name] += 1
                    continue
                self.repeated[name] += photo.rows
                photo = self.photos[name] = PhotoRows(split)
            photo.numbers.extend(box)
            photo.sizes.add((int(width), int(height)))

    def _add_voids(self, file: str, data: bytes, split: str) -> None:
        self.knows_voids = True
        rows = _rows(file, data, VOID_COLUMNS)
        _, header = next(rows, (0, []))
        if tuple(header) != VOID_COLUMNS:
            raise DataError(
                f"{file}:1: the header {','.join(VOID_COLUMNS)} was expected, found {','.join(header)}"
            )
        for line, row in rows:
            x1, y1, x2, y2 = _numbers(file, line, row[1:5], VOID_COLUMNS[1:5])
            tier, facings = _numbers(file, line, row[5:7], VOID_COLUMNS[5:7])
            for column, value in zip(VOID_COLUMNS[5:7], (tier, facings), strict=True):
                if value < 1 or value % 1:
                    raise DataError(
                        f"{file}:{line}: column {column} must be a whole number from 1, found {value:g}"
                    )
            name = _photo_name(file, line, row[0])
            if row[7] not in VOID_KINDS:
                raise DataError(
                    f"{file}:{line}: kind must be one of {', '.join(VOID_KINDS)}, found {row[7]!r}"
                )
            self._voids[split, name].append(TruthVoid((x1, y1, x2, y2), int(tier), int(facings), row[7]))


def _rows(file: str, data: bytes, columns: tuple[str, ...]) -> Iterator[tuple[int, list[str]]]:
    # Decoded line by line: the text of 1.2 million rows at once would be several times its bytes.
    reader = csv.reader(io.TextIOWrapper(io.BytesIO(data), "utf-8-sig", newline=""))
    try:
        for row in reader:
            if not row:
                continue
            if len(row) != len(columns):
                raise DataError(
                    f"{file}:{reader.line_num}: {len(columns)} columns were expected ({','.join(columns)}), "
                    f"found {len(row)}: {','.join(row)[:120]}"
                )
            yield reader.line_num, row
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: not a CSV file in UTF-8 ({error}); save it as one again") from error


def _photo_name(file: str, line: int, name: str) -> str:
    if not name or "/" in name or "\\" in name or name.startswith("."):
        raise DataError(f"{file}:{line}: image_name must be a plain file name, found {name!r}")
    return name


def _numbers(file: str, line: int, cells: list[str], columns: tuple[str, ...]) -> list[float]:
    try:
        numbers = [float(cell) for cell in cells]
        if all(map(math.isfinite, numbers)):
            return numbers
    except ValueError:
        pass
    column, cell = next((c, v) for c, v in zip(columns, cells, strict=True) if not _is_finite(v))
    hint = "; these files have no header" if line == 1 and cell == column else ""
    raise DataError(f"{file}:{line}: column {column} must be a number, found {cell!r}{hint}")


def _is_finite(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def upright_boxes(boxes: np.ndarray, width: int, height: int, orientation: int) -> np.ndarray:
    """Move boxes from the frame of the stored pixels to the one that the EXIF orientation asks for.

    Args:
        boxes: (n, 4) float32 xyxy px as stored.
        width: of the stored pixels.
        height: of the stored pixels.
        orientation: EXIF 1 to 8.
    """
    x1, y1, x2, y2 = boxes.T
    left, top, right, bottom = width - x2, height - y2, width - x1, height - y1  # measured from the far side
    turned = {
        2: (left, y1, right, y2),
        3: (left, top, right, bottom),
        4: (x1, top, x2, bottom),
        5: (y1, x1, y2, x2),
        6: (top, x1, bottom, x2),
        7: (top, left, bottom, right),
        8: (y1, left, y2, right),
    }
    return np.stack(turned.get(orientation, (x1, y1, x2, y2)), axis=1).astype(np.float32)


def upright_voids(voids: list[TruthVoid], width: int, height: int, orientation: int) -> list[TruthVoid]:
    """Move voids as `upright_boxes` moves boxes."""
    boxes = np.array([void.box for void in voids], np.float32).reshape(-1, 4)
    turned = upright_boxes(boxes, width, height, orientation).tolist()
    return [replace(void, box=tuple(box)) for void, box in zip(voids, turned, strict=True)]
