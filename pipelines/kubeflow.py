"""The API of Kubeflow Pipelines: where it is, whether it answers, and its errors in words of ours."""

import contextlib
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import urllib3

from stocktake.errors import SettingsError, StocktakeError

ANSWER_TIMEOUT_S = 15.0
DEFAULT_NAMESPACE = "kubeflow"  # where the runs of an installation for one user are


class SubmitError(StocktakeError):
    """Kubeflow Pipelines cannot be reached, refused what was asked of it, or a run has failed."""


class Unanswered(SubmitError):
    """Kubeflow Pipelines does not answer now; it may a little later."""


@dataclass(frozen=True, slots=True)
class Target:
    """A Kubeflow Pipelines API and where to put things in it."""

    host: str  # http://localhost:8888
    experiment: str = "stocktake"
    namespace: str | None = None  # of a multi-user installation
    token: str | None = None

    def link(self, kind: str, name: str) -> str:
        """Address of a page of the UI; `kind` is runs or recurringrun."""
        return f"{self.host.rstrip('/')}/#/{kind}/details/{name}"


def open_client(target: Target) -> Any:
    """A `kfp.Client`; what it raises and prints is for `explained`.

    Raises:
        SettingsError: the host is no address.
        Unanswered: there is no answer.
        SubmitError: what answers is something else, or wants a login.
    """
    check_reachable(target)
    from kfp import Client

    with explained(target), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        namespace = target.namespace or DEFAULT_NAMESPACE
        return Client(host=target.host, namespace=namespace, existing_token=target.token)


@contextlib.contextmanager
def explained(target: Target) -> Iterator[None]:
    """Errors of the client as ours, and nothing of what it prints.

    Raises:
        Unanswered: there is no answer now.
        SubmitError: the API refuses, or it is not Kubeflow's.
    """
    import kfp_server_api

    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    except kfp_server_api.ApiException as error:
        raised = Unanswered if error.status in (429, 502, 503, 504) else SubmitError
        raise raised(f"{target.host} answered {error.status} {error.reason}: {_short(error.body)}") from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise Unanswered(f"{target.host}: the connection broke: {error}") from error
    except (AttributeError, ValueError, TypeError) as error:
        raise SubmitError(f"{target.host} does not answer as Kubeflow Pipelines does: {error}") from error


def check_reachable(target: Target) -> None:
    """Ask for the API's health once; kfp's own client tries five times and prints a traceback each time."""
    host = target.host
    parts = urlsplit(host)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError(f"--host must look like http://localhost:8888, found {host!r}")
    headers = {"Authorization": f"Bearer {target.token}"} if target.token else {}
    try:
        answer = urllib3.request(
            "GET",
            f"{host.rstrip('/')}/apis/v2beta1/healthz",
            headers=headers,
            timeout=ANSWER_TIMEOUT_S,
            retries=False,
            redirect=False,
        )
    except urllib3.exceptions.HTTPError as error:
        raise Unanswered(
            f"{host} cannot be reached ({error}); from outside the cluster, forward the port first: "
            "`kubectl -n kubeflow port-forward svc/ml-pipeline 8888`, then --host http://localhost:8888"
        ) from error
    if answer.status in (302, 401, 403):
        raise SubmitError(f"{host} wants a login ({answer.status}); put a token into KF_PIPELINES_TOKEN")
    try:
        is_api = answer.status == 200 and isinstance(answer.json(), dict)
    except ValueError:
        is_api = False
    if not is_api:
        raise SubmitError(
            f"{host} does not answer as Kubeflow Pipelines does ({answer.status} to its healthz)"
        )


def _short(body: Any) -> str:
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body or "no reason given")
    return " ".join(text.split())[:400]
