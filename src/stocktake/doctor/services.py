"""The servers that pods talk to: what the namespace says of them, and whether they answer as it says."""

import re
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import urllib3

from stocktake.cluster.namespace import (
    ENDPOINTS,
    OPTIONAL_ENDPOINTS,
    REQUIRED_ENDPOINTS,
    S3_CREDENTIALS,
    S3_KEYS,
)
from stocktake.doctor.finding import Finding, Unseen, fail, ok, warn
from stocktake.doctor.site import Site
from stocktake.errors import StocktakeError
from stocktake.settings import Settings, load_settings
from stocktake.storage import Store, open_store

ANSWER_TIMEOUT_S = 5.0
KSERVE_S3 = "serving.kserve.io/s3-"  # annotations of the Secret: KServe reads no ConfigMap of ours
KNOWN_S3 = re.compile(
    r"(endpoint|usehttps|region|verifyssl|usevirtualbucket|useaccelerate|useanoncredential|cabundle(-configmap)?)"
)
PREDICTOR = "predictor"  # the service account whose Secret KServe fetches models with
REDIS = "REDIS_URL"
PROMETHEUS = "PROMETHEUS_URL"


def endpoints(site: Site) -> Finding:
    """Whether the ConfigMap says where MLflow and the store are, as pods can use it."""
    said = site.endpoints
    if not said:
        return fail(
            f"no ConfigMap {ENDPOINTS} in {site.namespace}: no step can start", CREATE.format(site.namespace)
        )
    edit = f"kubectl -n {site.namespace} edit configmap {ENDPOINTS}"
    if lacking := [key for key in REQUIRED_ENDPOINTS if not said.get(key)]:
        return fail(f"ConfigMap {ENDPOINTS} without {', '.join(lacking)}", edit)
    if not said["STOCKTAKE_STORE"].startswith("s3://"):
        return fail(
            f"STOCKTAKE_STORE is {said['STOCKTAKE_STORE']!r}: pods share no folder; it must be s3://…", edit
        )
    for key in ("MLFLOW_TRACKING_URI", "S3_ENDPOINT_URL"):
        parts = urlsplit(said.get(key, "http://default"))
        if parts.scheme not in ("http", "https") or not parts.hostname:
            return fail(f"{key} is {said[key]!r}; it must look like http://host:5000", edit)
        if parts.hostname == "localhost" or parts.hostname.startswith("127."):
            return fail(f"{key} is {said[key]!r}: in a pod that is the pod itself", edit)
    return ok(", ".join(said[key] for key in (*REQUIRED_ENDPOINTS, *OPTIONAL_ENDPOINTS) if said.get(key)))


def credentials(site: Site) -> Finding:
    """Whether there is a key for the store."""
    if site.secret is None:
        return warn(
            f"no Secret {S3_CREDENTIALS}: pods need an identity of their own",
            "create it, or annotate the service accounts with the identity",
        )
    if lacking := [key for key in S3_KEYS if not site.credentials.get(key)]:
        return fail(
            f"Secret {S3_CREDENTIALS} without {', '.join(lacking)}",
            f"kubectl -n {site.namespace} edit secret {S3_CREDENTIALS}",
        )
    return ok(f"Secret {S3_CREDENTIALS} has a key")


def fetching(site: Site) -> Finding:
    """Whether KServe is told where the models' store is, by a container of ours or by annotations."""
    containers = {each["spec"]["predictor"].get("storageContainerName") for each in site.inference_services}
    path = "/apis/serving.kserve.io/v1alpha1/clusterstoragecontainers/"
    if lacking := [name for name in containers if name and site.cluster.read(path + name) is None]:
        return fail(f"no ClusterStorageContainer {', '.join(lacking)}", "kubectl apply -k manifests/cluster")
    if None not in containers:
        return ok(f"by ClusterStorageContainer {', '.join(sorted(containers)) or 'of the overlays'}")
    if wrong := list(_wrong_annotations(site)):
        return fail(
            f"Secret {S3_CREDENTIALS}: {'; '.join(wrong)}: KServe cannot fetch models",
            f"kubectl -n {site.namespace} annotate --overwrite secret {S3_CREDENTIALS} {KSERVE_S3}endpoint=…",
        )
    account = site.cluster.read(site.ours("/api/v1", "serviceaccounts", PREDICTOR))
    if S3_CREDENTIALS not in [each["name"] for each in (account or {}).get("secrets", ())]:
        return fail(
            f"service account {PREDICTOR} does not list the Secret {S3_CREDENTIALS}: KServe has no key",
            "name storageContainerName stocktake-s3, as the overlays do, or list it",
        )
    return ok(f"by annotations of {S3_CREDENTIALS}, attached to the service account {PREDICTOR}")


def mlflow(site: Site) -> Finding:
    """Whether MLflow answers, under the name that pods call it by."""
    uri = _said(site, "MLFLOW_TRACKING_URI")
    status, body = ask_mlflow(site, "/api/2.0/mlflow/experiments/search?max_results=1")
    if status == 403 and "Invalid Host" in body:
        return fail(
            f"MLflow refuses its own name {urlsplit(uri).netloc}, though its /health answers",
            f"add {urlsplit(uri).hostname}:* to the --allowed-hosts of the server",
        )
    if status != 200:
        return fail(f"{uri} answered {status}, not as MLflow does", "look at its log, or mend the address")
    return ok(f"{uri} answers under that name")


def store(site: Site) -> Finding:
    """Whether the key opens the bucket; only lists, so a missing right to write is not seen."""
    found = next(iter(open_here(site).list("models/")), None)
    return ok(f"{_said(site, 'STOCKTAKE_STORE')} can be listed, {'has' if found else 'has no'} models")


def redis(site: Site) -> Finding:
    """Whether Redis answers a PING, where one is named."""
    if not (url := site.endpoints.get(REDIS)):
        return ok(f"not used: {ENDPOINTS} has no {REDIS}")
    parts = urlsplit(site.from_here(url, REDIS))
    try:
        with socket.create_connection(
            (parts.hostname or "", parts.port or 6379), ANSWER_TIMEOUT_S
        ) as connection:
            connection.sendall(b"PING\r\n")
            answer = connection.recv(64)
    except OSError as error:
        return fail(f"{url} does not answer ({error})", "look whether its pod runs")
    if answer.startswith((b"+PONG", b"-NOAUTH")):
        return ok(f"{url} answers{' and wants a password' if answer.startswith(b'-') else ''}")
    return fail(f"{url} does not answer as Redis does", "mend the address")


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
    uri = _said(site, "MLFLOW_TRACKING_URI")
    here = site.from_here(uri, "MLFLOW_TRACKING_URI").rstrip("/")
    headers = {"Host": urlsplit(uri).netloc}
    try:
        answer = urllib3.request("GET", here + path, headers=headers, timeout=ANSWER_TIMEOUT_S, retries=False)
    except urllib3.exceptions.HTTPError as error:
        raise StocktakeError(f"{here} does not answer ({error}); look whether MLflow runs") from error
    return answer.status, answer.data.decode(errors="replace")


def open_here(site: Site) -> Store:
    """The store, with the address and the key that pods have.

    Raises:
        Unseen: it can be reached from pods only, or only by an identity that pods have.
    """
    uri = _said(site, "STOCKTAKE_STORE")
    if not all(site.credentials.get(key) for key in S3_KEYS):
        raise Unseen(f"an identity of pods cannot be tried from here; Secret {S3_CREDENTIALS} has no key")
    address = site.endpoints.get("S3_ENDPOINT_URL") or Settings.model_fields["s3_endpoint_url"].default
    return open_store(
        uri,
        load_settings(
            s3_endpoint_url=site.from_here(address, "S3_ENDPOINT_URL"),
            aws_region=site.endpoints.get("AWS_REGION"),
            aws_access_key_id=site.credentials["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=site.credentials["AWS_SECRET_ACCESS_KEY"],
            aws_session_token=None,
            s3_retries=0,
        ),
    )


def _said(site: Site, key: str) -> str:
    if not (value := site.endpoints.get(key)):
        raise Unseen(f"ConfigMap {ENDPOINTS} has no {key}")
    return value


def _wrong_annotations(site: Site) -> Iterator[str]:
    annotations = ((site.secret or {}).get("metadata") or {}).get("annotations") or {}
    for name in annotations:
        prefix, _, key = name.rpartition("/s3-")
        if prefix and (f"{prefix}/s3-" != KSERVE_S3 or not KNOWN_S3.fullmatch(key)):
            yield f"KServe does not know the annotation {name}"
    address = site.endpoints.get("S3_ENDPOINT_URL")
    if not address:
        return  # AWS, which needs no address
    told = annotations.get(f"{KSERVE_S3}endpoint")
    parts = urlsplit(address)
    if told != parts.netloc:
        yield f"{KSERVE_S3}endpoint is {told!r}, {ENDPOINTS} says {parts.netloc}"
    secure = annotations.get(f"{KSERVE_S3}usehttps", "1") != "0"
    if secure != (parts.scheme == "https"):
        yield f"{KSERVE_S3}usehttps does not fit {address}"
