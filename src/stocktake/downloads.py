"""Files from the web, whole or not at all, with a progress bar."""

import shutil
import urllib.request
from pathlib import Path

from tqdm import tqdm

from stocktake.files import atomic_path

CONNECT_SECONDS = 5


def download(url: str, target: Path) -> None:
    """Fetch `url` into the file `target`.

    Raises:
        OSError: no route, no such host, a timeout, 404, a full disk …; urllib's URLError is one.
    """
    with urllib.request.urlopen(url, timeout=CONNECT_SECONDS) as answer, atomic_path(target) as part:
        total = int(answer.headers.get("Content-Length") or 0)
        with (
            tqdm.wrapattr(answer, "read", total=total, desc=target.name, disable=None) as body,
            part.open("wb") as file,
        ):
            shutil.copyfileobj(body, file)
