import cv2
import numpy as np
import pytest

from stocktake.shelf.confidence import (
    DRAWN_WEIGHTS,
    GEOMETRY_WEIGHTS,
    PHOTO_WEIGHTS,
    SHOPS,
    confidence,
    geometry_features,
    photo_features,
)
from stocktake.shelf.gaps import Gaps
from stocktake.shelf.texture import Looks, colours_of, look_at


def photo_of(*patches: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Patches of 100 x 100 px side by side, and their boxes."""
    boxes = [[100 * k, 0, 100 * k + 100, 100] for k in range(len(patches))]
    return np.concatenate(patches, axis=1), np.array(boxes, np.float32)


def plain(*rgb: int) -> np.ndarray:
    return np.full((100, 100, 3), rgb, np.uint8)


def stripes(step: int, light: int = 200) -> np.ndarray:
    return np.where((np.arange(100) // step % 2)[None, :, None], light, 0).astype(np.uint8).repeat(
        100, axis=0
    ) * (np.ones((1, 1, 3), np.uint8))


def test_a_bare_patch_has_no_energy_whatever_its_light():
    photo, boxes = photo_of(plain(10, 10, 10), plain(250, 250, 250), stripes(8))
    looks = look_at(photo, boxes, 100)
    assert looks.energy[:2].tolist() == [0, 0]
    assert looks.energy[2] > 50
    assert looks.light[:2].tolist() == [10, 250]
    assert looks.light[2] == pytest.approx(100, abs=10)
    assert looks.energy.dtype == np.float32


def test_the_calmest_strip_counts():
    half = stripes(8)
    half[:, 60:] = 30
    photo, boxes = photo_of(half, stripes(8))
    looks = look_at(photo, boxes, 100)
    assert looks.energy[0] == pytest.approx(0, abs=1)
    assert looks.energy[1] > 50


def test_the_rim_is_not_looked_at():
    framed = plain(90, 90, 90)
    framed[:11] = framed[-11:] = framed[:, :11] = framed[:, -11:] = 255
    photo, boxes = photo_of(framed)
    looks = look_at(photo, boxes, 100)
    assert (looks.energy[0], looks.light[0]) == (0, 90)
    assert colours_of(photo, boxes)[0].tolist() == [90] * 9


def test_large_products_are_shrunk_to_one_size():
    photo, boxes = photo_of(stripes(10))
    large = cv2.resize(photo, None, fx=8, fy=8, interpolation=cv2.INTER_NEAREST)
    small = look_at(photo, boxes, 72).energy[0]
    assert look_at(large, boxes * 8, 72 * 8).energy[0] == pytest.approx(small, rel=0.15)
    assert look_at(large, boxes * 8, 72).energy[0] < small / 2


def test_fine_noise_is_less_than_print():
    noise = np.random.default_rng(0).integers(0, 256, (800, 800, 3), np.uint8)
    blocks = np.kron(noise[:20, :20], np.ones((40, 40, 1), np.uint8))
    box = np.array([[0, 0, 800, 800]], np.float32)
    assert look_at(noise, box, 800).energy[0] < look_at(blocks, box, 800).energy[0] / 2


def test_tiny_patches_and_patches_outside_are_not_judged():
    photo, _ = photo_of(stripes(8))
    boxes = np.array([[0, 0, 5, 50], [0, 0, 50, 5], [300, 0, 400, 50], [-90, 0, -10, 50]], np.float32)
    looks = look_at(photo, boxes, 100)
    assert np.isnan(looks.energy).all()
    assert np.isnan(looks.light).all()
    assert np.isnan(colours_of(photo, boxes)).all()
    assert look_at(photo, boxes[:0], 100).energy.shape == (0,)
    assert colours_of(photo, boxes[:0]).shape == (0, 9)


def test_what_lies_in_the_photo_is_judged():
    photo, _ = photo_of(plain(7, 7, 7))
    assert look_at(photo, np.array([[-50, -50, 150, 150]], np.float32), 100).light.tolist() == [7]


def test_colours_run_from_top_to_bottom():
    flag = plain(0, 0, 0)
    flag[:37], flag[37:63], flag[63:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    photo, boxes = photo_of(flag)
    bands = colours_of(photo, boxes).reshape(3, 3)
    assert bands.argmax(axis=1).tolist() == [0, 1, 2]
    assert bands.max(axis=1).min() > 200


# what confidence is made of


def gaps(**changes: object) -> Gaps:
    one = {
        "box": np.array([[0, 0, 50, 100]], np.float32),
        "board": np.array([0]),
        "kind": np.array(["gap"]),
        "room": np.array([1.0]),
        "left": np.array([0]),
        "right": np.array([1]),
        "agree": np.array([0.5]),
        "blank": np.array([0.25]),
        "headroom": np.array([0.75]),
        "ragged": np.array([0.1]),
        "size": np.array([15]),
    }
    return Gaps(**(one | {k: np.array([v]) for k, v in changes.items()}))  # type: ignore[arg-type]


def feature(name: str, scores: tuple[float, ...] = (1, 1), **changes: object) -> float:
    return float(geometry_features(gaps(**changes), np.array(scores))[name][0])


@pytest.mark.parametrize(
    ("name", "changes", "value"),
    [
        ("one", {}, 1),
        ("room", {}, 0),
        ("room", {"room": 0.1}, np.log(0.2)),
        ("room", {"room": 9.0}, np.log(1.5)),
        ("edge", {}, 0),
        ("edge", {"kind": "edge"}, 1),
        ("edge_agree", {}, 0),
        ("edge_agree", {"kind": "edge"}, 0.5),
        ("empty", {}, 0),
        ("empty", {"kind": "empty_tier"}, 1),
        ("blank", {}, 0.25),
        ("flat", {}, 0),
        ("flat", {"box": [0, 0, 300, 100]}, np.log(3)),
        ("flat", {"box": [0, 0, 9000, 100]}, np.log(20)),
        ("flat", {"box": [0, 0, 300, 100], "kind": "empty_tier"}, 0),
        ("headroom", {}, 0.75),
        ("ragged", {}, 0.1),
        ("ragged", {"ragged": 2.0}, 0.4),
        ("few", {}, 0),
        ("few", {"size": 40}, 0),
        ("few", {"size": 5}, np.log(3)),
        ("few", {"size": 1}, np.log(5)),
        ("doubt", {}, 0),
    ],
)
def test_geometry_features(name, changes, value):
    assert feature(name, **changes) == pytest.approx(value, abs=1e-6)


def test_a_flank_of_low_score_raises_doubt():
    assert feature("doubt", (0.3, 0.6, 0.6, 0.6)) == pytest.approx(0.5)
    assert feature("doubt", (0.6, 0.3, 0.6, 0.6)) == pytest.approx(0.5)
    assert feature("doubt", (0.0, 0.0)) == pytest.approx(1)


def test_photo_features_compare_with_products():
    products = Looks(np.array([10, 20, np.nan, 30]), np.array([100, 100, np.nan, 50]))
    gap = Looks(np.array([20, 2, 0, 900, np.nan]), np.array([100, 50, 0, 255, np.nan]))
    colours, flank = np.zeros((5, 9)), np.full((5, 9), 32.0)
    colours[4] = np.nan
    features = photo_features(gap, products, colours, flank, 2 * flank)
    assert features["energy"].tolist() == pytest.approx(np.log([1, 0.1, 0.05, 3, 1]))
    assert features["light"].tolist() == pytest.approx([1, 0.5, 0, 2, 1])
    assert features["unlike"].tolist() == pytest.approx([0.5, 0.5, 0.5, 0.5, 0])
    assert photo_features(gap, products, colours, 9 * flank, 9 * flank)["unlike"].tolist()[:1] == [1]


def test_without_products_nothing_is_bare():
    unseen = Looks(np.array([np.nan]), np.array([np.nan]))
    features = photo_features(Looks(np.array([5.0]), np.array([9.0])), unseen, *np.zeros((3, 1, 9)))
    assert (features["energy"].tolist(), features["light"].tolist()) == ([0], [1])


def test_confidence_is_logistic():
    features = {"one": np.ones(3), "room": np.array([0, 1, -1.0]), "unused": np.full(3, np.nan)}
    assert confidence(features, {"one": 0.5, "room": 2}).tolist() == pytest.approx(
        [1 / (1 + np.exp(-x)) for x in (0.5, 2.5, -1.5)]
    )


def test_weights_point_the_way_they_should():
    for weights in (GEOMETRY_WEIGHTS, PHOTO_WEIGHTS):
        assert weights["room"] > 0 > weights["blank"]
        assert weights["edge"] + max(weights["edge_agree"], 0) < 0
    assert PHOTO_WEIGHTS["energy"] < 0 < PHOTO_WEIGHTS["unlike"]
    assert {k: PHOTO_WEIGHTS[k] - DRAWN_WEIGHTS[k] for k in SHOPS} == pytest.approx(SHOPS)
    assert set(PHOTO_WEIGHTS) == set(DRAWN_WEIGHTS)
