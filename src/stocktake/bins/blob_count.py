"""Counts items without learning: connected components. What a trained counter has to beat.

The recipe of introductions to image processing: smooth, separate what differs from the background by Otsu's
threshold, close small holes, count what hangs together and
is large enough. The sizes were tuned on drawn bins.
"""

import cv2
import numpy as np

from stocktake.images import Pixels

_WIDTH = 320  # px; photos are brought to this width so that the sizes below fit all of them
_SMOOTH = 4.0  # px
_CLOSE = 9  # px
_LEAST = 0.008  # of the photo's area; smaller components are print and threads


def count_blobs(photo: Pixels) -> int:
    """The number of connected components that stand out from the bin in a photo (H, W, 3) uint8 RGB.

    Otsu's threshold (N. Otsu: A threshold selection method from gray-level histograms, IEEE Transactions on
    Systems, Man, and Cybernetics 9, 1979) on each pixel's distance in CIELAB from the photo's median colour,
    which is mostly the fabric's, without the border, where lip and walls are.
    """
    height = max(round(photo.shape[0] * _WIDTH / photo.shape[1]), 1)
    small = cv2.resize(photo, (_WIDTH, height), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(cv2.GaussianBlur(small, (0, 0), _SMOOTH), cv2.COLOR_RGB2LAB).astype(np.float32)
    rows, columns = height // 10, _WIDTH // 20
    inside = lab[rows : height - rows, columns : _WIDTH - columns]
    distance = np.linalg.norm(inside - np.median(inside, axis=(0, 1)), axis=2)
    grey = cv2.normalize(distance, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)  # type: ignore[call-overload]
    _, mask = cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((_CLOSE, _CLOSE), np.uint8))
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask)
    return int((stats[1:, cv2.CC_STAT_AREA] > _LEAST * _WIDTH * height).sum())
