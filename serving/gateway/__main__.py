"""The gateway: python -m serving.gateway {serve,migrate,token,…}."""

import argparse
import asyncio
import logging
from collections.abc import Sequence

import uvicorn

from serving.gateway.access import Access, ensure_tokens
from serving.gateway.app import create_app
from serving.gateway.gateway import open_gateway
from serving.gateway.settings import load_gateway_settings
from stocktake.errors import StocktakeError


async def _serve(args: argparse.Namespace) -> None:
    settings = load_gateway_settings()
    if token := ensure_tokens(settings.tokens):
        print(
            f"{settings.tokens} was made, with one token of role admin, shown only now:\n  {token}",
            flush=True,
        )
    access = Access(settings.tokens)
    async with open_gateway(settings) as gateway:
        config = uvicorn.Config(
            create_app(gateway, access),
            host=args.host,
            port=args.port,
            access_log=False,
            server_header=False,
            log_config=None,
        )
        await uvicorn.Server(config).serve()


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and do what it says."""
    parser = argparse.ArgumentParser(prog="python -m serving.gateway")
    verbs = parser.add_subparsers(dest="verb", required=True)
    serve = verbs.add_parser("serve")
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=int, default=8000)
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO)
    try:
        asyncio.run(_serve(args))
    except StocktakeError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
