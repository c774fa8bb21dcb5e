"""What the verbs of `python -m serving.gateway` do."""

import asyncio
import logging
from argparse import Namespace
from collections.abc import Sequence
from contextlib import closing

import uvloop
from sqlalchemy import select
from sqlalchemy.orm import joinedload

from serving.gateway import access, feedback_export, intake, labelling, retention
from serving.gateway.app import create_app, create_server
from serving.gateway.gateway import open_gateway, open_photos
from serving.gateway.queue import open_queue
from serving.gateway.records import photos
from serving.gateway.records.database import Records
from serving.gateway.records.tables import Job, Photo, State
from serving.gateway.settings import GatewaySettings
from serving.gateway.worker import work as work_on
from stocktake.errors import SettingsError

logger = logging.getLogger(__name__)


def serve(settings: GatewaySettings, args: Namespace) -> None:
    """Answer HTTP requests until a signal comes."""
    if token := access.ensure_tokens(settings.tokens):
        print(
            f"{settings.tokens} was made, with one token of role admin, shown only now:\n{token}", flush=True
        )
    if settings.redis is None:
        logger.warning("STOCKTAKE_GATEWAY_REDIS is not set: photos are taken one at a time, no jobs of many")
    uvloop.run(_serve(settings, args))


async def _serve(settings: GatewaySettings, args: Namespace) -> None:
    users = access.Access(settings.tokens)
    async with open_gateway(settings) as gateway:
        server = create_server(
            create_app(gateway, users), host=args.host, port=args.port, forwarded_allow_ips=args.proxies,
            ssl_certfile=args.ssl_certfile, ssl_keyfile=args.ssl_keyfile,
        )  # fmt: skip
        await server.serve()


def work(settings: GatewaySettings, args: Namespace) -> None:
    """Answer the photos of the queue until a signal comes."""
    uvloop.run(_work(settings, args))


async def _work(settings: GatewaySettings, args: Namespace) -> None:
    async with open_gateway(settings, patient=True) as gateway:
        await work_on(gateway, args.host, args.port)


def migrate(settings: GatewaySettings, _args: Namespace) -> None:
    """Bring the records' schema up to date."""
    with closing(Records(settings.database)) as records:
        records.migrate()


def expire(settings: GatewaySettings, _args: Namespace) -> None:
    """Delete what is old, and say how much."""
    with closing(Records(settings.database)) as records:
        done = retention.expire(records, open_photos(settings), settings.retention_days, settings.record_days)
    print(
        f"deleted {done.files} files of {done.photos} photos older than {settings.retention_days} days, "
        f"{done.records} photos and {done.jobs} jobs older than {settings.record_days} days, and "
        f"{done.strays} files of no photo"
    )


def export(settings: GatewaySettings, args: Namespace) -> None:
    """Write what people said about photos to a feedback index."""
    with closing(Records(settings.database)) as records:
        print(feedback_export.export_feedback(records, settings.photos, args.to))


def choose(settings: GatewaySettings, args: Namespace) -> None:
    """Write a list of photos worth labelling."""
    with closing(Records(settings.database)) as records:
        print(labelling.export_choice(records, settings.photos, args.task, args.photos, args.to))


def token_add(settings: GatewaySettings, args: Namespace) -> None:
    """Make a token and print it."""
    print(access.add_token(settings.tokens, args.name, access.Role(args.role), args.store))


def token_remove(settings: GatewaySettings, args: Namespace) -> None:
    """Take a token away."""
    access.remove_token(settings.tokens, args.name)


def token_list(settings: GatewaySettings, _args: Namespace) -> None:
    """Print names, roles and stores."""
    for user in access.Access(settings.tokens).users():
        print(user.name, user.role, "all stores" if user.stores is None else ", ".join(sorted(user.stores)))


def dead(settings: GatewaySettings, args: Namespace) -> None:
    """Print photos that were given up, and put them into the queue again where that is wanted.

    Raises:
        SettingsError: there is no queue for them.
    """
    if args.retry and settings.redis is None:
        raise SettingsError("STOCKTAKE_GATEWAY_REDIS is not set: no worker would take the photos; set it")
    given_up = select(Photo).where(Photo.state == State.DEAD).options(joinedload(Photo.job))
    with closing(Records(settings.database)) as records, records.write() as session:
        found = session.scalars(given_up.order_by(Photo.answered_at)).all()
        for photo in found:
            print(photo.id, photo.job_id, photo.store or "-", photo.error)
        revived = [photo for photo in found if args.retry and photos.revive(session, photo.id)]
    if revived:
        asyncio.run(_enqueue(settings, revived))


async def _enqueue(settings: GatewaySettings, revived: Sequence[Photo]) -> None:
    jobs: dict[Job, list[Photo]] = {}
    for photo in revived:
        jobs.setdefault(photo.job, []).append(photo)
    async with open_queue(settings) as queue:
        for job, waiting in jobs.items():
            await intake.enqueue(queue, job, waiting)
