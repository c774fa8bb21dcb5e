"""Who may ask: bearer tokens for REST and gRPC, checked in one place.

Probes, metrics and metadata of the server are open, or Kubernetes could not look at it. Loading and unloading
models is closed to everybody where there is no token for it.
"""

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc
from grpc.aio import ServerInterceptor
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.predictors.errors import Unauthorized, answer_to
from serving.predictors.metrics import count_refusal, rest_protocol
from serving.predictors.rest_errors import error_response

SCHEME = "bearer "
CLOSED = "models are loaded when the server starts, not over the network; --admin_token_file opens that"

_OPEN_PATHS = ("/", "/metrics", "/v2", "/v2/health/live", "/v2/health/ready")
_OPEN_METHODS = ("ServerLive", "ServerReady", "ServerMetadata", "ModelReady", "Check", "Watch", "List")
_ADMIN_PATH = "/v2/repository/"
_ADMIN_METHODS = ("RepositoryModelLoad", "RepositoryModelUnload")


class RepositoryClosed(NotImplementedError):
    """Somebody wants to load or unload a model where there is no token for that."""

    def __init__(self) -> None:
        super().__init__(CLOSED)
        self.reason = CLOSED  # where KServe looks for it


@dataclass(frozen=True, slots=True)
class Access:
    """The tokens that a server asks for.

    `token` comes with every request that is answered by a model, None asks for none; `admin_token` with those
    that load and unload models, None refuses them all.
    """

    token: str | None = None
    admin_token: str | None = None

    def check(self, authorization: str | None, admin: bool = False) -> None:
        """Look at the value of a request's Authorization header.

        Raises:
            Unauthorized: it holds no token, or another one.
            RepositoryClosed: `admin`, and there is no token that would do.
        """
        wanted = self.admin_token if admin else self.token
        if admin and wanted is None:
            raise RepositoryClosed
        if wanted is None:
            return
        given = authorization or ""
        is_bearer = given[: len(SCHEME)].lower() == SCHEME
        if not is_bearer or not hmac.compare_digest(given[len(SCHEME) :].strip().encode(), wanted.encode()):
            raise Unauthorized("give the server's token: Authorization: Bearer <token>")

    def check_path(self, path: str, authorization: str | None) -> None:
        """`check` of a REST request, by what its path is for."""
        is_ready = path.startswith(("/v1/models/", "/v2/models/")) and path.endswith("/ready")
        if path not in _OPEN_PATHS and not is_ready:
            self.check(authorization, admin=path.startswith(_ADMIN_PATH))

    def check_method(self, method: str, authorization: str | None) -> None:
        """`check` of a gRPC request, by its full method name."""
        name = method.rpartition("/")[2]
        if name not in _OPEN_METHODS:
            self.check(authorization, admin=name in _ADMIN_METHODS)


class AccessMiddleware:
    """Answers REST requests that may not pass, before their bodies are read."""

    def __init__(self, app: ASGIApp, access: Access):
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it."""
        if scope["type"] == "http":
            try:
                self._access.check_path(scope["path"], Headers(scope=scope).get("authorization"))
            except (Unauthorized, RepositoryClosed) as error:
                count_refusal(error, rest_protocol(scope["path"]))
                await error_response(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)


class AccessInterceptor(ServerInterceptor):
    """Answers gRPC requests that may not pass."""

    def __init__(self, access: Access):
        self._access = access

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        call: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        """Pass a call on, or answer it."""
        metadata = {key: value for key, value in call.invocation_metadata if isinstance(value, str)}
        handler = await continuation(call)
        try:
            self._access.check_method(call.method, metadata.get("authorization"))
        except (Unauthorized, RepositoryClosed) as error:
            count_refusal(error, "grpc")
            return _refuse(error, handler)
        return handler


def _refuse(error: Exception, handler: grpc.RpcMethodHandler | None) -> grpc.RpcMethodHandler:
    async def abort(_request: Any, context: grpc.aio.ServicerContext) -> None:
        await context.abort(answer_to(error).grpc, str(error))

    if handler is not None and handler.request_streaming and handler.response_streaming:  # reflection
        return grpc.stream_stream_rpc_method_handler(abort)
    return grpc.stream_unary_rpc_method_handler(abort)  # whose messages are not read unless somebody asks
