"""The servers that pods talk to: what the namespace says of them, and whether they answer as it says."""

import socket
import ssl
from urllib.parse import urlsplit

import urllib3

from stocktake.cluster.namespace import ENDPOINTS, OPTIONAL_ENDPOINTS, REQUIRED_ENDPOINTS
from stocktake.doctor.finding import Finding, Unseen, fail, ok, warn
from stocktake.doctor.site import Site
from stocktake.errors import StocktakeError

ANSWER_TIMEOUT_S = 5.0
REDIS = "REDIS_URL"
PROMETHEUS = "PROMETHEUS_URL"


def endpoints(site: Site) -> Finding:
    """Whether the ConfigMap says where MLflow and the store are, as pods can use it."""
    known = site.endpoints
    if not known:
        return fail(
            f"no ConfigMap {ENDPOINTS} in {site.namespace}: no step can start",
            "apply an overlay, or manifests/kubeflow-pipelines/runs",
        )
    edit = f"kubectl -n {site.namespace} edit configmap {ENDPOINTS}"
    if lacking := [key for key in REQUIRED_ENDPOINTS if not known.get(key)]:
        return fail(f"ConfigMap {ENDPOINTS} without {', '.join(lacking)}", edit)
    if not known["STOCKTAKE_STORE"].startswith("s3://"):
        return fail(
            f"STOCKTAKE_STORE is {known['STOCKTAKE_STORE']!r}: pods share no folder; it must be s3://…", edit
        )
    for key in ("MLFLOW_TRACKING_URI", "S3_ENDPOINT_URL"):
        parts = urlsplit(known.get(key, "http://default"))
        if parts.scheme not in ("http", "https") or not parts.hostname:
            return fail(f"{key} is {known[key]!r}; it must look like http://host:5000", edit)
        if parts.hostname == "localhost" or parts.hostname.startswith("127."):
            return fail(f"{key} is {known[key]!r}: in a pod that is the pod itself", edit)
    return ok(", ".join(known[key] for key in (*REQUIRED_ENDPOINTS, *OPTIONAL_ENDPOINTS) if known.get(key)))


def mlflow(site: Site) -> Finding:
    """Whether MLflow answers, under the name that pods call it by."""
    uri = said(site, "MLFLOW_TRACKING_URI")
    status, body = ask_mlflow(site, "/api/2.0/mlflow/experiments/search?max_results=1")
    if status == 403 and "Invalid Host" in body:
        return fail(
            f"MLflow refuses its own name {urlsplit(uri).netloc}, though its /health answers",
            f"add {urlsplit(uri).hostname}:* to the --allowed-hosts of the server",
        )
    if status != 200:
        return fail(f"{uri} answered {status}, not as MLflow does", "look at its log, or mend the address")
    return ok(f"{uri} answers under that name")


def redis(site: Site) -> Finding:
    """Whether Redis answers a PING, where one is named; over TLS where its address is rediss://."""
    if not (url := site.endpoints.get(REDIS)):
        return ok(f"not used: {ENDPOINTS} has no {REDIS}")
    try:
        answer = _ping(url, site.from_here(url, REDIS))
    except ssl.SSLCertVerificationError as error:
        return fail(f"{url} has a certificate that is not trusted ({error.verify_message})", "mend it")
    except OSError as error:
        return fail(f"{url} does not answer ({error})", "look whether its pod runs")
    if answer.startswith((b"+PONG", b"-NOAUTH")):
        return ok(f"{url} answers{' and wants a password' if answer.startswith(b'-') else ''}")
    return fail(f"{url} does not answer as Redis does", "mend the address")


def _ping(url: str, here: str) -> bytes:
    """What a Redis says to PING; its certificate has to be for the name that pods call it by."""
    parts = urlsplit(here)
    with socket.create_connection((parts.hostname or "", parts.port or 6379), ANSWER_TIMEOUT_S) as plain:
        connection = plain
        if parts.scheme == "rediss":
            trusted = ssl.create_default_context()  # of this machine, or of SSL_CERT_FILE
            connection = trusted.wrap_socket(plain, server_hostname=urlsplit(url).hostname)
        with connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64)


def prometheus(site: Site) -> Finding:
    """Whether Prometheus answers, where autoscaling looks for it."""
    if not (url := site.endpoints.get(PROMETHEUS)):
        return warn(f"{ENDPOINTS} has no {PROMETHEUS}: nothing scales by waiting photos", "docs/install.md")
    here = site.from_here(url, PROMETHEUS).rstrip("/")
    try:
        status = urllib3.request("GET", f"{here}/-/ready", timeout=ANSWER_TIMEOUT_S, retries=False).status
    except urllib3.exceptions.HTTPError as error:
        return fail(f"{here} does not answer ({error})", "look whether Prometheus runs")
    return ok(f"{url} is ready") if status == 200 else fail(f"{url} answered {status}", "mend the address")


def ask_mlflow(site: Site, path: str) -> tuple[int, str]:
    """Status and body of a GET, with the host name that pods would send.

    Raises:
        Unseen: it can be reached from pods only, or no address is known.
        StocktakeError: it does not answer.
    """
    uri = said(site, "MLFLOW_TRACKING_URI")
    here = site.from_here(uri, "MLFLOW_TRACKING_URI").rstrip("/")
    headers = {"Host": urlsplit(uri).netloc.rpartition("@")[2]}
    try:
        answer = urllib3.request("GET", here + path, headers=headers, timeout=ANSWER_TIMEOUT_S, retries=False)
    except urllib3.exceptions.HTTPError as error:
        raise StocktakeError(f"{here} does not answer ({error}); look whether MLflow runs") from error
    return answer.status, answer.data.decode(errors="replace")


def said(site: Site, key: str) -> str:
    """What the ConfigMap says of a key; Unseen where it says nothing, for its own line tells that."""
    if not (value := site.endpoints.get(key)):
        raise Unseen(f"ConfigMap {ENDPOINTS} has no {key}")
    return value
