"""The S3 store: its key, whether the key opens it, and whether KServe is told of both."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from stocktake.cluster.namespace import ENDPOINTS, S3_CREDENTIALS, S3_KEYS
from stocktake.doctor.finding import Finding, Unseen, fail, ok, warn
from stocktake.doctor.services import said
from stocktake.doctor.site import KSERVE, Site
from stocktake.settings import Settings, load_settings
from stocktake.storage import Store, open_store

KSERVE_S3 = "serving.kserve.io/s3-"  # annotations of the Secret: KServe reads no ConfigMap of ours
KNOWN_S3 = re.compile(
    r"(endpoint|usehttps|region|verifyssl|usevirtualbucket|useaccelerate|useanoncredential|cabundle(-configmap)?)"
)
PREDICTOR = "predictor"  # the service account whose Secret KServe fetches models with


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
    path = f"{KSERVE}/v1alpha1/clusterstoragecontainers/"
    if lacking := [name for name in containers if name and site.cluster.read(path + name) is None]:
        return fail(
            f"no ClusterStorageContainer {', '.join(lacking)}",
            "kubectl apply --server-side -k manifests/cluster",
        )
    if not containers:
        return ok("no InferenceService asks for a model yet")
    if None not in containers:
        return ok(f"by ClusterStorageContainer {', '.join(sorted(containers))}")
    if site.secret is None:
        return ok("by an identity of the pods")
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


def store(site: Site) -> Finding:
    """Whether the key opens the bucket; only lists, so a missing right to write is not seen."""
    found = next(iter(open_here(site).list("models/")), None)
    return ok(f"{said(site, 'STOCKTAKE_STORE')} can be listed, {'has' if found else 'has no'} models")


def open_here(site: Site) -> Store:
    """The store, with the address and the key that pods have.

    Raises:
        Unseen: it can be reached from pods only, or only by an identity that pods have.
    """
    uri = said(site, "STOCKTAKE_STORE")
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
