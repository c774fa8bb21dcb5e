"""A gateway served by a thread of the test's own process, over real HTTP, records and photos."""

import asyncio
import io
import threading
from pathlib import Path

import httpx
import uvicorn
from PIL import Image

from serving.gateway.access import Access, Role, add_token
from serving.gateway.app import create_app, create_server
from serving.gateway.gateway import Gateway, open_gateway
from serving.gateway.settings import load_gateway_settings
from tests.cell_photos import draw

START_S = 120


class GatewayThread:
    """`settings`: by field, beside those that point to `folder`."""

    def __init__(self, folder: Path, **settings: object):
        self.folder = folder
        self.settings = load_gateway_settings(
            **{
                "database": f"sqlite:///{folder}/records.db",
                "photos": str(folder / "photos"),
                "tokens": folder / "tokens.yaml",
                "redis": None,
                **settings,
            }
        )
        self.tokens = {role.value: add_token(self.settings.tokens, role.value, role) for role in Role}
        self.gateway: Gateway
        self.url = ""
        self._server: uvicorn.Server
        self._failure: BaseException | None = None
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def start(self) -> "GatewayThread":
        self._thread.start()
        assert self._started.wait(START_S)
        if self._failure:
            raise self._failure
        return self

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(60)
        assert not self._thread.is_alive()

    def client(self, role: str = "operator", token: str | None = None, **options) -> httpx.Client:
        headers = {"Authorization": f"Bearer {token or self.tokens[role]}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, trust_env=False, **options)

    def token(self, name: str, role: Role, stores: list[str] | None = None) -> str:
        return add_token(self.settings.tokens, name, role, stores)

    async def _serve(self) -> None:
        try:
            async with open_gateway(self.settings) as self.gateway:
                app = create_app(self.gateway, Access(self.settings.tokens))
                self._server = create_server(app, port=0)
                serving = asyncio.create_task(self._server.serve())
                while not self._server.started and not serving.done():
                    await asyncio.sleep(0.01)
                port = self._server.servers[0].sockets[0].getsockname()[1]
                self.url = f"http://127.0.0.1:{port}"
                self._started.set()
                await serving
        except BaseException as error:
            self._failure = error
            self._started.set()
            raise


def shelf_photo(missing: frozenset[tuple[int, int]] = frozenset({(2, 3)}), kind: str = "PNG") -> bytes:
    """A file of a shelf as the tiny detector sees it: white products, and gaps where `missing`."""
    encoded = io.BytesIO()
    Image.fromarray(draw(set(missing), set())[0]).save(encoded, kind)
    return encoded.getvalue()


def grey_photo(brightness: int, kind: str = "PNG") -> bytes:
    """A file of a bin as the tiny counter sees it: an item for each 50 of brightness."""
    encoded = io.BytesIO()
    Image.new("RGB", (64, 64), (brightness,) * 3).save(encoded, kind)
    return encoded.getvalue()
