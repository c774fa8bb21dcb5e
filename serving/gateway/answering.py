"""One photo answered: read from the store, asked of its predictor, kept. Twice does no harm."""

import asyncio
import contextlib
import logging
import re
from collections.abc import Callable
from pathlib import Path

from anyio import CancelScope, get_cancelled_exc_class, to_thread
from sqlalchemy.orm import Session

from serving.gateway.company import Company
from serving.gateway.errors import Away, Overloaded, Unavailable, text_for_client
from serving.gateway.model_answers import Answer
from serving.gateway.predictors import Predictors
from serving.gateway.records import photos
from serving.gateway.records.database import Records
from serving.gateway.records.tables import Photo, State
from stocktake.errors import BadRequest, StoreError
from stocktake.storage import Store, join_uri

PHOTOS = "photos/"  # what keys of photos begin with
DIGEST = re.compile("[0-9a-f]{64}")

logger = logging.getLogger(__name__)

Observer = Callable[[Session, Photo], None]  # called once for each photo that is done, in its transaction


def photo_key(sha256: str) -> str:
    """Where the bytes of a photo are in the store."""
    return f"{PHOTOS}{sha256[:2]}/{sha256}"


def digest_at(key: str) -> str | None:
    """The SHA-256 of the photo whose bytes are there; None where a store has something else there."""
    sha256 = key.rpartition("/")[2]
    return sha256 if DIGEST.fullmatch(sha256) and key == photo_key(sha256) else None


def photo_uri(photos: str, sha256: str) -> str:
    """The address of the bytes of a photo; `photos` is the URI, or a folder, of the store."""
    return join_uri(photos if "://" in photos else str(Path(photos).absolute()), photo_key(sha256))


class Answering:
    """Answers photos that are in the records and in the store."""

    def __init__(
        self, records: Records, store: Store, predictors: Predictors, attempts: int, observe: Observer
    ):
        """`attempts`: after which a photo is given up."""
        self._records, self._store, self._predictors = records, store, predictors
        self._attempts, self._observe = attempts, observe
        self._untold: set[str] = set()  # photos whose end the records were away for
        self._telling = asyncio.Lock()
        self._company = Company()

    async def answer(self, photo_id: str, data: bytes | None = None) -> None:
        """Answer a photo, if nobody has; `data`: its file, where the caller has it.

        Raises:
            Unavailable: something is away, and the photo may be tried again; the records say so, too. An
                attempt counts where the predictor may have looked at the photo and the records could be told.
        """
        await self.tell()
        try:
            async with self._company.together():
                await self._answer(photo_id, data)
        except photos.Suspected:  # if it kills this worker, too, no other photo shall have to do with it
            async with self._company.alone():
                await self._answer(photo_id, data, alone=True)

    async def _answer(self, photo_id: str, data: bytes | None, alone: bool = False) -> None:
        photo = await to_thread.run_sync(self._begin, photo_id, alone)
        if photo is None:
            return
        try:
            if data is None:
                data = await to_thread.run_sync(self._store.get, photo_key(photo.sha256))
            answer = await self._predictors.ask(photo.task, data, photo.expected_quantity)
            await to_thread.run_sync(self._finish, photo_id, answer)
        except BadRequest as error:
            await self._end(self._give_up, photo_id, State.FAILED, str(error))
        except get_cancelled_exc_class():
            with CancelScope(shield=True), contextlib.suppress(Away):
                await self._end(self._put_back, photo_id, "its worker was ended", False)
            raise
        except Exception as error:
            reason = _reason(photo_id, error)
            counts = not isinstance(error, Away | Overloaded)
            if counts and photo.attempts >= self._attempts:
                await self._end(self._give_up, photo_id, State.DEAD, reason)
                return
            await self._end(self._put_back, photo_id, reason, counts)
            raise error if isinstance(error, Unavailable) else Unavailable(reason) from error

    async def tell(self) -> None:
        """Put photos back that could not be while the records were away: no worker has died over them.

        Raises:
            Away: the records still are.
        """
        async with self._telling:
            while self._untold:
                await self._end(self._put_back, self._untold.pop(), "the records were away", False)

    async def _end(self, how: Callable[..., None], photo_id: str, *about: object) -> None:
        try:
            await to_thread.run_sync(how, photo_id, *about)
        except Away:
            self._untold.add(photo_id)
            raise

    def _begin(self, photo_id: str, alone: bool) -> Photo | None:
        with self._records.write() as session:
            return photos.begin(session, photo_id, self._attempts, alone)

    def _finish(self, photo_id: str, answer: Answer) -> None:
        with self._records.write() as session:
            photo = photos.finish(session, photo_id, answer)
            if photo:
                self._observe(session, photo)

    def _give_up(self, photo_id: str, state: State, reason: str) -> None:
        with self._records.write() as session:
            photos.give_up(session, photo_id, state, reason)

    def _put_back(self, photo_id: str, reason: str, counts: bool) -> None:
        with self._records.write() as session:
            photos.put_back(session, photo_id, reason, counts)


def _reason(photo_id: str, error: Exception) -> str:
    """What the records say of an attempt that failed; the log says more."""
    if isinstance(error, Unavailable | StoreError):
        logger.warning("photo %s: %s", photo_id, error)
        return text_for_client(error)
    logger.exception("photo %s: a fault of ours", photo_id, exc_info=error)
    return f"a fault of the gateway: {type(error).__name__}"
