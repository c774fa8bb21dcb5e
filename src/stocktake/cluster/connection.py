"""Finds the cluster: the one that we run in, or the one that kubectl is set to."""

import os
from pathlib import Path

from stocktake.cluster.api import Cluster, ClusterError, Object, explained

NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")  # in a pod
POOL_SIZE = 64  # threads that may ask at the same time; beyond it the client complains of each
BUSY_TRIES = 10
# Never there: what a server knows would be kept under a name that others guess.
NO_CACHE = os.devnull + "/none"


def connect(namespace: str | None = None, context: str | None = None) -> Cluster:
    """The cluster that we run in, or that kubectl is set to.

    Args:
        namespace: of the objects; that of the pod or of the context when None.
        context: of the kubeconfig (KUBECONFIG or ~/.kube/config); the current one when None.

    Raises:
        ClusterError: there is no configuration, or the API cannot be reached.
    """
    from kubernetes import client, config
    from kubernetes.dynamic import DynamicClient
    from urllib3 import Retry

    settings = client.Configuration()
    settings.connection_pool_maxsize = POOL_SIZE
    try:
        if context is None and "KUBERNETES_SERVICE_HOST" in os.environ and "KUBECONFIG" not in os.environ:
            config.load_incluster_config(client_configuration=settings)
            found = NAMESPACE_FILE.read_text().strip() if NAMESPACE_FILE.is_file() else None
        else:
            file = os.environ.get("KUBECONFIG")  # the client itself looks once, when it is imported
            config.load_kube_config(file, context, settings)
            chosen = _context(config.list_kube_config_contexts(file), context)
            found = chosen.get("namespace")
    except (config.ConfigException, OSError) as error:
        raise ClusterError(
            f"no cluster is configured ({error}); `kubectl config current-context` must name one, or set "
            "KUBECONFIG"
        ) from error
    # A server that has too much to do names the time to come back; one that is not there is said at once.
    settings.retries = Retry(
        BUSY_TRIES, connect=0, read=0, redirect=0, other=0, allowed_methods=None, raise_on_status=False
    )
    with explained(settings.host):
        talking = DynamicClient(client.ApiClient(settings), cache_file=NO_CACHE)
        return Cluster(talking, namespace or found or "default")


def _context(contexts: tuple[list[Object], Object], wanted: str | None) -> Object:
    every, current = contexts
    entry = next((each for each in every if each["name"] == wanted), current)
    return dict(entry.get("context") or {})
