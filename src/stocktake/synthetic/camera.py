"""The camera of drawn photos: where it stands, and what lens, light and sensor do to the picture."""

import cv2
import numpy as np


def draw_homography(
    rng: np.random.Generator, width: int, height: int, tilt: float, keystone: float
) -> np.ndarray:
    """Map the shelf's plane to the photo, (3, 3) float64; about the photo's centre, at scale 1 there.

    `tilt` is the largest rotation in degrees, `keystone` the largest change of scale from one side of the
    photo to the other.
    """
    angle = np.deg2rad(rng.uniform(-tilt, tilt))
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    lean = np.eye(3)
    lean[2, :2] = rng.uniform(-keystone, keystone, 2) / (width, height)
    centre = np.array([[1, 0, width / 2], [0, 1, height / 2], [0, 0, 1.0]])
    return centre @ lean @ turn @ np.linalg.inv(centre)


def recede(point: tuple[float, float], eye: tuple[float, float], step: float) -> tuple[float, float]:
    """Where a point of the front seems to lie when moved back; `step` 1 takes it to the eye's point."""
    return point[0] + (eye[0] - point[0]) * step, point[1] + (eye[1] - point[1]) * step


def transform_boxes(matrix: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Axis-aligned bounds, (n, 4) float64 xyxy, of boxes seen through a homography."""
    if len(boxes) == 0:
        return np.zeros((0, 4))
    corners = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 1, 2).astype(np.float64)
    seen = cv2.perspectiveTransform(corners, matrix).reshape(-1, 4, 2)
    return np.hstack([seen.min(1), seen.max(1)])


def light_photo(rng: np.random.Generator, photo: np.ndarray, strength: float) -> np.ndarray:
    """Uneven light across the photo, exposure and white balance; (H, W, 3) uint8 in and out."""
    lamps = rng.uniform(1 - strength, 1 + 0.5 * strength, (3, 3)).astype(np.float32)
    tint = 1 + rng.uniform(-0.25, 0.25, 3).astype(np.float32) * strength
    height, width = photo.shape[:2]
    light = cv2.resize(lamps, (width, height), interpolation=cv2.INTER_CUBIC)
    field = cv2.merge([light * float(t) for t in tint])
    return cv2.multiply(photo, field, dtype=cv2.CV_8U)


def expose_photo(
    rng: np.random.Generator, photo: np.ndarray, blur: float, noise: float, tile: int | None = None
) -> np.ndarray:
    """Defocus of `blur` px (Gaussian sigma) and sensor noise of standard deviation `noise`.

    With `tile`, an even number, the noise repeats after as many px, which nobody sees and takes less time.
    """
    if blur > 0.25:
        photo = cv2.GaussianBlur(photo, (0, 0), blur)
    height, width = photo.shape[:2] if tile is None else (tile, tile)
    grain = rng.standard_normal((height, width), dtype=np.float32) * noise
    colour = cv2.resize(
        rng.standard_normal((height // 2, width // 2, 3), dtype=np.float32) * noise, (width, height)
    )
    colour += grain[..., None]
    if tile is not None:
        repeats = photo.shape[0] // tile + 1, photo.shape[1] // tile + 1, 1
        colour = np.tile(colour, repeats)[: photo.shape[0], : photo.shape[1]]
    return cv2.add(photo, colour, dtype=cv2.CV_8U)
