"""Tar shards: many small photos in one object, each found again by its offset and length."""

import hashlib
import io
import math
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stocktake.errors import StoreError
from stocktake.files import PART_SUFFIX, explain_os_error, sha256_file
from stocktake.storage import Store


class ShardWriter:
    """A tar archive in a local file, written member by member and then put into a store under one name.

    The same photos make the same bytes, so the digest in the key tells what is in the shard: a shard is never
    replaced by one with other photos, and indexes that point to it stay right.
    """

    def __init__(self, path: Path):
        self._path = path
        self._tar = tarfile.open(path, "w", format=tarfile.GNU_FORMAT)  # noqa: SIM115
        self._members = hashlib.sha256()

    def add(self, name: str, data: bytes) -> int:
        """Append a photo; returns the offset of its first byte within the shard."""
        member = tarfile.TarInfo(name)
        member.size = len(data)
        try:
            self._tar.addfile(member, io.BytesIO(data))
        except OSError as error:
            raise StoreError(explain_os_error(error, self._path)) from error
        self._members.update(f"{name}\0{hashlib.sha256(data).hexdigest()}\n".encode())
        return self._tar.offset - math.ceil(len(data) / tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE

    def key(self, prefix: str) -> str:
        """What the shard is called in a store: 'photos-010-<digest>.tar' for the prefix 'photos-010'."""
        return f"{prefix}-{self._members.hexdigest()[:16]}.tar"

    def put(self, store: Store, prefix: str) -> tuple[str, int, str]:
        """Finish the archive and put it, unless the store holds it already.

        Returns:
            Its key, bytes and SHA-256.
        """
        try:
            self._tar.close()
            key, digest, size = self.key(prefix), sha256_file(self._path), self._path.stat().st_size
        except OSError as error:
            raise StoreError(explain_os_error(error, self._path)) from error
        if not store.holds(key, size, digest):
            store.put(key, self._path, digest)
        return key, size, digest

    def close(self) -> None:
        """Close the local file, finished or not."""
        self._tar.close()


@contextmanager
def new_shard(folder: Path) -> Iterator[ShardWriter]:
    """A shard in a file that is gone when the block ends.

    Raises:
        StoreError: the folder can't be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(prefix=".shard.", suffix=PART_SUFFIX, dir=folder) as file:
            writer = ShardWriter(Path(file.name))
            try:
                yield writer
            finally:
                writer.close()
    except OSError as error:
        raise StoreError(explain_os_error(error, folder)) from error
