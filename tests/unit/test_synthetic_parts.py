"""The parts of the drawing: settings, families, packs, backs, the camera."""

import numpy as np
import pytest

from stocktake.errors import SettingsError
from stocktake.synthetic.camera import draw_homography, transform_boxes
from stocktake.synthetic.draw_settings import DrawSettings
from stocktake.synthetic.families import DEMO, FAMILIES, STARTER
from stocktake.synthetic.packs import draw_packs
from stocktake.synthetic.scenery import paint_back


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"family": "shop"}, "demo, starter"),
        ({"width": 40}, "160"),
        ({"blur": (2.0, 1.0)}, "blur"),
        ({"tilt": -1.0}, "tilt"),
        ({"tiers": (0, 2)}, "at least 1"),
        ({"colour": 1}, "colour"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(SettingsError, match=message):
        DrawSettings.preset(**changes)


def test_unknown_difficulty_names_those_that_exist():
    with pytest.raises(SettingsError, match="easy, default, hard"):
        DrawSettings.preset("brutal")


# --- families and parts


def test_families_share_nothing():
    for part in ("palette", "inks", "rails", "tags", "floors"):
        distances = np.abs(
            np.array(getattr(DEMO, part))[:, None] - np.array(getattr(STARTER, part))[None]
        ).max(2)
        assert distances.min() > 5, part
    colours = [np.array([back.colour for back in family.backs]) for family in (DEMO, STARTER)]
    assert np.abs(colours[0][:, None] - colours[1][None]).max(2).min() > 10
    for part in ("designs", "pictures"):
        assert not set(getattr(DEMO, part)) & set(getattr(STARTER, part))
    assert not {b.material for b in DEMO.backs} & {b.material for b in STARTER.backs}
    for value in ("name", "profile"):
        demo, starter = ({getattr(shape, value) for shape in family.shapes} for family in (DEMO, STARTER))
        assert not demo & starter


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_packs_fill_their_box_and_show_contrast(family):
    for shape in family.shapes:
        rng = np.random.default_rng(0)
        first, second = draw_packs(rng, family, shape, 60, 110, variants=2)
        assert first.shape == (110, 60, 4)
        solid = first[..., 3] > 127
        assert solid.any(0).sum() >= 58
        assert solid.any(1).all()
        assert first[solid][:, :3].std(0).max() > 15
        assert np.array_equal(first[..., 3], second[..., 3])


@pytest.mark.parametrize("back", [b for f in FAMILIES.values() for b in f.backs], ids=str)
def test_backs_have_their_colour(back):
    panel = paint_back(np.random.default_rng(0), back, 90, 130)
    assert panel.shape == (90, 130, 3)
    assert np.abs(np.median(panel, (0, 1)) - back.colour).max() < 20


def test_camera_without_tilt_and_keystone_leaves_everything_in_place():
    camera = draw_homography(np.random.default_rng(0), 100, 200, tilt=0.0, keystone=0.0)
    assert np.allclose(camera, np.eye(3))
    boxes = np.array([[1.0, 2, 30, 40]])
    assert np.allclose(transform_boxes(camera, boxes), boxes)
    assert transform_boxes(camera, np.zeros((0, 4))).shape == (0, 4)


def test_boxes_are_the_bounds_of_what_the_camera_sees():
    quarter_turn = np.array([[0, -1, 10], [1, 0, 0], [0, 0, 1.0]])  # (x, y) -> (10 - y, x)
    assert np.allclose(transform_boxes(quarter_turn, np.array([[1.0, 2, 3, 7]])), [[3, 1, 8, 3]])
