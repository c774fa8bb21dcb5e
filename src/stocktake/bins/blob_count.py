"""Counts items without learning: connected components. What a trained counter has to beat.

The recipe of introductions to image processing: smooth, separate what differs from the background by Otsu's
threshold, close small holes, count what hangs together and
is large enough. The sizes were tuned on drawn bins.
"""

import cv2
import numpy as np

from stocktake.images import Pixels

_WIDTH = 320  # px; photos are brought to this width so that the sizes below fit all of them
_SMOOTH = 2.0  # px
_CLOSE = 5  # px
_LEAST = 0.01  # of the area looked at; smaller components are print and threads


def count_blobs(photo: Pixels) -> int:
    """The number of connected components that stand out from the bin in a photo (H, W, 3) uint8 RGB.

    Otsu's threshold (N. Otsu: A threshold selection method from gray-level histograms, IEEE Transactions on
    Systems, Man, and Cybernetics 9, 1979) on how far the chroma of a pixel, in CIELAB, is from the median of
    its row: mostly the fabric's, or that of a tape before it, at any depth of shadow. The border, with
    lip and walls, is left out.
    """
    height = max(round(photo.shape[0] * _WIDTH / photo.shape[1]), 1)
    small = cv2.resize(photo, (_WIDTH, height), interpolation=cv2.INTER_AREA)
    rows, columns = height // 8, _WIDTH // 16
    inside = small[rows : height - rows, columns : _WIDTH - columns]
    lab = cv2.cvtColor(cv2.GaussianBlur(inside, (0, 0), _SMOOTH), cv2.COLOR_RGB2LAB).astype(np.float32)
    chroma = lab[..., 1:]
    distance = np.linalg.norm(chroma - np.median(chroma, axis=1, keepdims=True), axis=2)
    grey = cv2.normalize(distance, np.empty_like(distance), 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    _, mask = cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((_CLOSE, _CLOSE), np.uint8))
    stats = cv2.connectedComponentsWithStats(mask)[2]
    return int((stats[1:, cv2.CC_STAT_AREA] > _LEAST * mask.size).sum())
