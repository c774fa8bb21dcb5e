"""People on photos: a function of the operator blurs them before a photo is kept or answered."""

import logging
import pkgutil
from collections.abc import Callable

from serving.gateway.errors import NotBlurred
from stocktake.errors import SettingsError
from stocktake.photo_header import read_info

logger = logging.getLogger(__name__)

Blur = Callable[[bytes], bytes]  # the file of a photo, and the file that is taken in its place


def load_blur(name: str | None) -> Blur | None:
    """The function at `package.module:function`; None where none is asked for.

    Raises:
        SettingsError: it cannot be imported, or is no function.
    """
    if name is None:
        return None
    try:
        found = pkgutil.resolve_name(name)
    except Exception as error:  # the module is not ours
        raise SettingsError(
            f"STOCKTAKE_GATEWAY_BLUR: {name!r} cannot be imported: {type(error).__name__}: {error}; "
            "give package.module:function, and its folder in PYTHONPATH"
        ) from error
    if not callable(found):
        raise SettingsError(f"STOCKTAKE_GATEWAY_BLUR: {name!r} is no function; give package.module:function")
    blur: Blur = found
    return blur


def blur_photo(blur: Blur, data: bytes) -> bytes:
    """What is taken in place of a photo.

    Raises:
        UnsupportedImage, PhotoTooLarge: `data` is no photo that is answered; `blur` has not seen it.
        NotBlurred: `blur` failed, or returned no photo; what is not blurred is never taken. The same photo
            would fail again, so nobody is asked to send it again.
    """
    read_info(data)
    try:
        blurred = blur(data)
        if not isinstance(blurred, bytes):
            raise TypeError(f"the function returned {type(blurred).__name__}; return the bytes of a photo")
        read_info(blurred)
    except Exception as error:  # the function is not ours
        logger.exception("a photo was not taken, since STOCKTAKE_GATEWAY_BLUR failed")
        raise NotBlurred("the photo could not be blurred, so it is not kept; take another one") from error
    return blurred
