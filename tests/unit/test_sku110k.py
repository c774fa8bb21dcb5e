"""Ingest, from every kind of source but S3, good and bad; counts always add up."""

import http.server
import io
import json
import signal
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from stocktake.dataset import DatasetIndex, TruthVoid, fetch_photos, read_photo_bytes
from stocktake.errors import DataError, SettingsError, StoreError
from stocktake.shelf.ingest_report import IngestReport
from stocktake.shelf.sku110k import ingest

WIDTH, HEIGHT = 96, 64


def encode(seed: int = 0, suffix: str = ".jpg", shape: tuple[int, ...] = (HEIGHT, WIDTH, 3)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    return cv2.imencode(suffix, pixels)[1].tobytes()


def row(name: str, box: str = "1,2,30,40", size: str = f"{WIDTH},{HEIGHT}") -> str:
    return f"{name},{box},object,{size}\n"


def make_set(folder: Path, counts: dict[str, int] | None = None) -> Path:
    """A small data set in the layout of SKU-110K, two boxes per photo."""
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    seed = 0
    for split, count in (counts or {"train": 6, "val": 2, "test": 3}).items():
        names = [f"{split}_{number}.jpg" for number in range(count)]
        for name in names:
            (folder / "images" / name).write_bytes(encode(seed))
            seed += 1
        text = "".join(row(name) + row(name, "40,2,90,60") for name in names)
        (folder / f"annotations/annotations_{split}.csv").write_text(text)
    return folder


@pytest.fixture
def shelves(tmp_path) -> Path:
    return make_set(tmp_path / "shelves")


def add_row(shelves: Path, text: str, split: str = "train") -> None:
    with (shelves / f"annotations/annotations_{split}.csv").open("a") as file:
        file.write(text)


def take(source: Path | str, tmp_path: Path, **options) -> tuple[IngestReport, DatasetIndex]:
    report = ingest(str(source), tmp_path / "out", progress=False, **options)
    assert_adds_up(report)
    return report, DatasetIndex.read(tmp_path / "out/index.parquet")


def assert_adds_up(report: IngestReport) -> None:
    assert report.photos_found == report.photos_kept + sum(map(len, report.left_out.values()))
    assert report.rows_read == report.boxes_kept + sum(report.rows_left_out.values())
    assert report.photos_kept == sum(counts["photos"] for counts in report.splits.values())
    assert report.boxes_kept == sum(counts["boxes"] for counts in report.splits.values())


def make_archive(folder: Path, path: Path, photos_first: bool = False, mode: str = "w:gz") -> Path:
    parts = ["images", "annotations"] if photos_first else ["annotations", "images"]
    with tarfile.open(path, mode) as tar:
        for part in parts:
            for file in sorted((folder / part).iterdir()):
                tar.add(file, f"SKU110K_fixed/{part}/{file.name}")
        tar.addfile(tarfile.TarInfo("SKU110K_fixed/readme.txt"))
    return path


def snapshot(folder: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*")}


def test_a_folder_is_referenced_in_place_and_never_written(shelves, tmp_path):
    before = snapshot(shelves)
    report, index = take(shelves, tmp_path)
    assert snapshot(shelves) == before
    assert index.store == str(shelves)
    assert report.splits == {
        "train": {"photos": 6, "boxes": 12},
        "val": {"photos": 2, "boxes": 4},
        "test": {"photos": 3, "boxes": 6},
    }
    photo = index.split("test")[1]
    assert (photo.name, photo.uri, photo.width, photo.height) == (
        "test_1.jpg",
        "images/test_1.jpg",
        WIDTH,
        HEIGHT,
    )
    assert photo.boxes.tolist() == [[1, 2, 30, 40], [40, 2, 90, 60]]
    assert photo.voids is None
    assert read_photo_bytes(index, photo) == (shelves / "images/test_1.jpg").read_bytes()
    assert index.metadata["licence"].startswith("SKU-110K: academic")
    assert index.metadata["excluded"] == []
    assert report.digest == index.digest


def test_the_report_is_written_for_machines_and_people(shelves, tmp_path):
    (shelves / "images/train_0.jpg").write_bytes(b"<script>")
    report, _ = take(shelves, tmp_path)
    assert json.loads((tmp_path / "out/report.json").read_text())["left_out"] == report.left_out
    page = (tmp_path / "out/report.html").read_text()
    assert "cannot be decoded to its last byte" in page
    assert "train_0.jpg" in page
    assert page.count("data:image/png;base64") == 1


def test_copy_puts_the_photos_into_the_store(shelves, tmp_path):
    _, index = take(shelves, tmp_path, store=str(tmp_path / "store"), copy=True)
    assert index.store == str(tmp_path / "store/datasets/shelves")
    assert (
        read_photo_bytes(index, index.photos[0]) == (shelves / "images" / index.photos[0].name).read_bytes()
    )


@pytest.mark.parametrize("photos_first", [False, True])
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_an_archive_gives_the_same_index_as_its_folder(shelves, tmp_path, photos_first, mode):
    archive = make_archive(shelves, tmp_path / "set.tar.gz", photos_first, mode)
    report, index = take(archive, tmp_path, store=str(tmp_path / "store"))
    assert report.other_files == 1
    assert index.store == str(tmp_path / "store/datasets/set")
    ingest(str(shelves), tmp_path / "plain", progress=False)
    assert index.digest == DatasetIndex.read(tmp_path / "plain/index.parquet").digest
    paths = fetch_photos(index, index.photos, tmp_path / "cache", progress=False)
    for photo, path in zip(index.photos, paths, strict=True):
        assert path.read_bytes() == (shelves / "images" / photo.name).read_bytes()


def test_a_second_run_does_nothing_over(shelves, tmp_path):
    archive = make_archive(shelves, tmp_path / "set.tar.gz")
    first, before = take(archive, tmp_path, store=str(tmp_path / "store"))
    assert (first.examined, first.known) == (11, 0)
    stored = snapshot(tmp_path / "store")
    second, after = take(archive, tmp_path, store=str(tmp_path / "store"))
    assert (second.examined, second.known) == (0, 11)
    assert snapshot(tmp_path / "store") == stored
    assert after.digest == before.digest

    (lost,) = (tmp_path / "store/datasets/set/images").glob("train_3-*.jpg")
    lost.unlink()
    third, index = take(archive, tmp_path, store=str(tmp_path / "store"))
    assert (third.examined, third.known) == (1, 10)
    assert read_photo_bytes(index, index.photos[0])


def test_archives_of_one_name_keep_their_photos_apart(tmp_path):
    for number, folder in enumerate(("a", "b")):
        shelves = make_set(tmp_path / folder / "shelves")
        (shelves / "images/train_0.jpg").write_bytes(encode(100 + number))
        archive = make_archive(shelves, tmp_path / folder / "set.tar.gz")
        ingest(str(archive), tmp_path / folder / "out", store=str(tmp_path / "store"), progress=False)
    for folder in ("a", "b"):
        index = DatasetIndex.read(tmp_path / folder / "out/index.parquet")
        for photo in index.photos:
            source = tmp_path / folder / "shelves/images" / photo.name
            assert read_photo_bytes(index, photo) == source.read_bytes()


def test_a_changed_photo_is_read_again(shelves, tmp_path):
    take(shelves, tmp_path)
    (shelves / "images/train_2.jpg").write_bytes(encode(99))
    report, index = take(shelves, tmp_path)
    assert (report.examined, report.known) == (1, 10)
    (photo,) = [photo for photo in index.photos if photo.name == "train_2.jpg"]
    assert read_photo_bytes(index, photo) == encode(99)


def test_what_cannot_be_decoded_is_named_and_left_out(shelves, tmp_path):
    whole = encode(0)
    noisy = encode(1, shape=(600, 800, 3))
    bad = {
        "train_0.jpg": whole[: len(whole) // 2],
        "train_1.jpg": whole[:-2],
        "train_2.jpg": b"",
        "train_3.jpg": b"<html>not found</html>",
        "train_4.jpg": noisy[: len(noisy) - 200],
    }
    for name, data in bad.items():
        (shelves / "images" / name).write_bytes(data)
    report, index = take(shelves, tmp_path)
    assert report.left_out["unreadable"].keys() == bad.keys()
    assert "truncated" in report.left_out["unreadable"]["train_0.jpg"]
    assert report.rows_left_out == {"unreadable": 10}
    assert index.metadata["unreadable"] == sorted(bad)
    assert [photo.name for photo in index.split("train")] == ["train_5.jpg"]
    again, _ = take(shelves, tmp_path)
    assert again.left_out == report.left_out
    with pytest.raises(
        DataError, match=r"5 photos cannot be read, the first is train_0\.jpg: .*exclude='unreadable'"
    ):
        take(shelves, tmp_path, exclude="none")


def test_an_unreadable_photo_of_an_archive_is_not_stored(shelves, tmp_path):
    (shelves / "images/train_0.jpg").write_bytes(encode()[:-20])
    take(make_archive(shelves, tmp_path / "set.tar"), tmp_path, store=str(tmp_path / "store"))
    assert len(list((tmp_path / "store/datasets/set/images").iterdir())) == 10


def test_the_strict_list_is_kept_with_the_index(tmp_path):
    shelves = make_set(tmp_path / "shelves", {"train": 40, "test": 23})
    report, index = take(shelves, tmp_path, exclude="strict")
    assert index.metadata["excluded"] == ["test_22.jpg", "train_38.jpg"]
    assert index.metadata["exclude"] == "strict"
    assert (report.photos_kept, report.rows_left_out) == (61, {"excluded": 4})
    assert take(shelves, tmp_path)[0].photos_kept == 63


def test_photos_without_rows_and_rows_without_photos(shelves, tmp_path):
    (shelves / "images/extra.jpg").write_bytes(encode(50))
    add_row(shelves, row("gone.jpg") * 3)
    report, index = take(shelves, tmp_path)
    assert report.left_out == {"no_rows": {"extra.jpg": "no annotation file has a row for it"}}
    assert report.missing == ["gone.jpg"]
    assert report.rows_left_out == {"photo_missing": 3}
    assert len(index.photos) == 11


def test_two_data_sets_in_one_folder_are_refused(tmp_path):
    for name in ("a", "b"):
        make_set(tmp_path / "both" / name)
    with pytest.raises(
        DataError, match=r"a/annotations/annotations_test\.csv and b/annotations/annotations_test\.csv: "
    ):
        take(tmp_path / "both", tmp_path)


def test_a_photo_in_two_splits_is_used_once(shelves, tmp_path):
    add_row(shelves, row("test_0.jpg"), "train")
    report, index = take(shelves, tmp_path)
    assert [photo.split for photo in index.photos if photo.name == "test_0.jpg"] == ["test"]
    assert report.rows_left_out == {"second_split": 1}
    assert report.remarks["in two splits"] == {"test_0.jpg": "used in test only"}


def test_odd_boxes_are_counted_and_kept_for_label_prep(shelves, tmp_path):
    for box in ("-3,2,30,40", "1,2,200,40", "5,5,5,40", "9,5,8,6"):
        add_row(shelves, row("train_0.jpg", box))
    report, _ = take(shelves, tmp_path)
    assert (report.boxes_outside, report.boxes_degenerate) == (2, 2)
    assert report.boxes_kept == 26


def test_sizes_that_contradict_the_photo_are_left_out(shelves, tmp_path):
    (shelves / "images/train_0.jpg").write_bytes(encode(shape=(32, 32, 3)))
    add_row(shelves, row("train_1.jpg", size="10,10"))
    report, _ = take(shelves, tmp_path)
    assert report.left_out["wrong_size"] == {
        "train_0.jpg": "its rows say 96x64, the photo has 32x32",
        "train_1.jpg": "its rows give several sizes: 10x10, 96x64",
    }
    assert report.rows_left_out == {"wrong_size": 5}


def save_with_pillow(path: Path, image: Image.Image, **options) -> None:
    buffer = io.BytesIO()
    image.save(buffer, **options)
    path.write_bytes(buffer.getvalue())


@pytest.mark.parametrize(("given", "turned"), [((WIDTH, HEIGHT), True), ((HEIGHT, WIDTH), False)])
def test_boxes_follow_the_exif_rotation(shelves, tmp_path, given, turned):
    """The rows' size tells whether the boxes are in the frame of the stored or of the upright photo."""
    exif = Image.Exif()
    exif[0x0112] = 6
    path = shelves / "images/turned.jpg"
    save_with_pillow(path, Image.new("RGB", (WIDTH, HEIGHT)), format="JPEG", exif=exif)
    add_row(shelves, row("turned.jpg", "10,5,30,15", "{},{}".format(*given)))
    voids = "image_name,x1,y1,x2,y2,tier,facings,kind\nturned.jpg,40,20,70,30,2,3,gap\n"
    (shelves / "annotations/voids_train.csv").write_text(voids)
    report, index = take(shelves, tmp_path)
    (photo,) = [photo for photo in index.photos if photo.name == "turned.jpg"]
    assert (photo.width, photo.height) == (HEIGHT, WIDTH)
    assert photo.boxes.tolist() == ([[HEIGHT - 15, 10, HEIGHT - 5, 30]] if turned else [[10, 5, 30, 15]])
    expected = (HEIGHT - 30, 40, HEIGHT - 20, 70) if turned else (40, 20, 70, 30)
    assert photo.voids == (TruthVoid(expected, 2, 3, "gap"),)
    assert report.remarks["has an EXIF rotation"] == {"turned.jpg": "orientation 6"}
    assert ("boxes turned with the EXIF rotation" in report.remarks) == turned


def test_odd_encodings_are_kept_and_named(shelves, tmp_path):
    (shelves / "images/train_0.jpg").write_bytes(encode(suffix=".png"))
    save_with_pillow(shelves / "images/train_1.jpg", Image.new("CMYK", (WIDTH, HEIGHT)), format="JPEG")
    deep = np.random.default_rng(0).integers(0, 65536, (HEIGHT, WIDTH), np.uint16)
    (shelves / "images/train_2.jpg").write_bytes(cv2.imencode(".png", deep)[1].tobytes())
    (shelves / "images/train_3.jpg").write_bytes(encode(shape=(HEIGHT, WIDTH)))
    report, index = take(shelves, tmp_path)
    assert len(index.photos) == 11
    assert report.remarks["not what its name says"] == {
        "train_0.jpg": "png inside",
        "train_2.jpg": "png inside",
    }
    assert report.remarks["not plain RGB or grey"] == {"train_1.jpg": "CMYK", "train_2.jpg": "I;16"}


def test_limit_takes_as_many_of_each_split(shelves, tmp_path):
    report, index = take(shelves, tmp_path, limit=2)
    assert [photo.name for photo in index.photos] == [
        f"{s}_{n}.jpg" for s in ("test", "train", "val") for n in (0, 1)
    ]
    assert len(report.left_out["beyond_limit"]) == 5
    assert report.missing == []
    archive = make_archive(shelves, tmp_path / "set.tar.gz", photos_first=True)
    _, limited = take(archive, tmp_path, limit=2, store=str(tmp_path / "store"))
    assert limited.digest == index.digest


def test_drawn_photos_bring_their_voids(shelves, tmp_path):
    text = "image_name,x1,y1,x2,y2,tier,facings,kind\ntrain_1.jpg,1,2,3,4,2,3,edge\n"
    (shelves / "annotations/voids_train.csv").write_text(text)
    report, index = take(shelves, tmp_path)
    voids = {photo.name: photo.voids for photo in index.photos}
    assert len(voids["train_1.jpg"]) == 1
    assert voids["train_0.jpg"] == ()
    assert "drawn" in report.licence


def test_a_photo_that_an_archive_holds_twice_is_used_once(shelves, tmp_path):
    path = make_archive(shelves, tmp_path / "set.tar", mode="w")
    with tarfile.open(path, "a") as tar:
        tar.add(shelves / "images/train_1.jpg", "SKU110K_fixed/images/train_0.jpg")
    report, index = take(path, tmp_path, store=str(tmp_path / "store"))
    assert report.repeated_files == 1
    (photo,) = [photo for photo in index.photos if photo.name == "train_0.jpg"]
    assert read_photo_bytes(index, photo) == (shelves / "images/train_0.jpg").read_bytes()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ("rm -r .", "there is no such folder or archive"),
        ("rm -r images annotations", "empty; expected the folders images and annotations"),
        ("rm -r annotations", "no annotation rows were found"),
        ("rm images/*", "no usable photo is left.*annotated but not in the source: 11"),
        ("for f in images/*; do echo x > $f; done", "no usable photo is left.*decoded to its last byte: 11"),
        (
            "echo a,b >> annotations/annotations_val.csv",
            r"annotations_val\.csv:5: 8 columns were expected.*found 2: a,b",
        ),
    ],
)
def test_a_hopeless_source_is_one_clear_error(shelves, tmp_path, spoil, message):
    if spoil == "rm -r .":
        shelves = tmp_path / "nothing"
    else:
        subprocess.run(["bash", "-c", spoil], cwd=shelves, check=True)
    with pytest.raises(DataError, match=message):
        take(shelves, tmp_path)
    assert not (tmp_path / "out/index.parquet").exists()


def test_missing_annotations_are_told_before_photos_are_read(shelves, tmp_path):
    for file in (shelves / "annotations").iterdir():
        file.unlink()
    with pytest.raises(
        DataError, match=r"no annotation rows were found; expected some of annotations_train\.csv"
    ):
        take(shelves, tmp_path)
    assert len((tmp_path / "out/ingest.journal.jsonl").read_text().splitlines()) == 1


def test_a_bad_row_ends_it_before_photos_are_read(shelves, tmp_path):
    add_row(shelves, "train_0.jpg,1,2,x,4,object,9,9\n")
    with pytest.raises(DataError, match=r"annotations_train\.csv:13: column x2 must be a number, found 'x'"):
        take(shelves, tmp_path)
    assert len((tmp_path / "out/ingest.journal.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("options", [{"workers": 0}, {"limit": 0}, {"exclude": "some"}])
def test_an_impossible_argument_is_named(shelves, tmp_path, options):
    with pytest.raises(SettingsError, match=next(iter(options))):
        take(shelves, tmp_path, **options)


def test_an_output_that_cannot_be_written_is_one_clear_error(shelves, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(StoreError, match="out"):
        take(shelves, tmp_path)


class StallingServer(http.server.ThreadingHTTPServer):
    """Serves an archive, and stops half-way while `stall` is set."""

    daemon_threads = True

    def __init__(self, body: bytes):
        super().__init__(("127.0.0.1", 0), StallingHandler)
        self.body = body
        self.stall = threading.Event()
        self.stop = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/SKU110K_fixed.tar.gz?key=1"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class StallingHandler(http.server.BaseHTTPRequestHandler):
    server: StallingServer

    def do_GET(self):
        body = self.server.body
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.stall.is_set():
            self.wfile.write(body[: len(body) // 2])
            self.server.stop.wait(60)
            return
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def test_a_killed_download_continues(tmp_path):
    shelves = make_set(tmp_path / "shelves", {"train": 300, "test": 20})
    server = StallingServer(make_archive(shelves, tmp_path / "set.tar.gz").read_bytes())
    server.stall.set()
    program = (
        "import sys, pathlib\n"
        "from stocktake.shelf.sku110k import ingest\n"
        "ingest(sys.argv[1], pathlib.Path(sys.argv[2]), store=sys.argv[3], progress=False)\n"
    )
    out, store = tmp_path / "out", tmp_path / "store"
    journal = out / "ingest.journal.jsonl"
    child = subprocess.Popen([sys.executable, "-c", program, server.url, str(out), str(store)])
    try:
        deadline = time.monotonic() + 60
        while not journal.exists() or journal.read_text().count("\n") < 60:
            assert child.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert not (out / "index.parquet").exists()
    with journal.open("a") as file:
        file.write('{"name": "torn')  # what a kill in the middle of a line leaves
    server.stall.clear()
    server.stop.set()
    report, index = take(server.url, tmp_path, store=str(store))
    server.shutdown()
    server.server_close()
    assert report.source == server.url.removesuffix("?key=1")  # a query may hold a signature
    assert report.known >= 59
    assert report.known + report.examined == report.photos_kept == 320
    assert index.store == str(store / "datasets/SKU110K_fixed")
    stored = sorted(path.name for path in (store / "datasets/SKU110K_fixed/images").glob("*.jpg"))
    assert stored == sorted(photo.uri.removeprefix("images/") for photo in index.photos)
    assert len(stored) == 320
    assert all(read_photo_bytes(index, photo) for photo in index.photos)
