"""Drawn shelves, for tests of how they are drawn."""

import numpy as np

from stocktake.synthetic.draw_settings import DrawSettings
from stocktake.synthetic.shelves import DrawnShelf, draw_shelf

SMALL = {"width": 480, "height": 640}


def draw(seed: int, difficulty: str = "default", **changes) -> DrawnShelf:
    return draw_shelf(np.random.default_rng(seed), DrawSettings.preset(difficulty, **changes))
