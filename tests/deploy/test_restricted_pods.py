"""What `tests.pods` says of a pod is what a namespace with restricted pods does with it."""

import pytest

from stocktake.cluster.api import ClusterError
from tests.pods import Object, violations

CONTEXT: Object = {
    "runAsNonRoot": True,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER: Object = {"name": "main", "image": "server:1.0", "securityContext": CONTEXT}
SHARED = {key: CONTEXT[key] for key in ("runAsNonRoot", "seccompProfile")}  # what a pod can say for all
OWN = {key: CONTEXT[key] for key in CONTEXT.keys() - SHARED.keys()}
VOLUMES = {
    "tmp": {"emptyDir": {}},
    "settings": {"configMap": {"name": "a"}},
    "keys": {"secret": {"secretName": "a"}},
    "labels": {"downwardAPI": {"items": []}},
    "all": {"projected": {"sources": [{"configMap": {"name": "a"}}]}},
    "data": {"persistentVolumeClaim": {"claimName": "a"}},
    "driver": {"csi": {"driver": "a"}},
    "model": {"image": {"reference": "model:1.0"}},
}


def pod(**fields) -> Object:
    """A restricted pod with some fields more."""
    return {"containers": [CONTAINER], **fields}


def container(**fields) -> Object:
    """One whose container has some fields more."""
    return {"containers": [{**CONTAINER, **fields}]}


def locked(**changed) -> Object:
    """One whose container says something else of its security."""
    context = {key: value for key, value in {**CONTEXT, **changed}.items() if value is not None}
    return container(securityContext=context)


def of_all(**context) -> Object:
    """One that says something for all of its containers, which say the rest."""
    return {
        "securityContext": {**SHARED, **context},
        "containers": [{**CONTAINER, "securityContext": OWN}],
    }


LET_THROUGH = {
    "as it should be": pod(),
    "said for all containers": of_all(),
    "volumes": pod(volumes=[{"name": name, **kind} for name, kind in VOLUMES.items()]),
    "safe sysctls": pod(
        securityContext={
            "sysctls": [
                {"name": "net.ipv4.tcp_rmem", "value": "4096 87380 16777216"},
                {"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"},
            ]
        }
    ),
    "a low port": locked(capabilities={"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}),
    "profiles of the node": locked(
        seccompProfile={"type": "Localhost", "localhostProfile": "a"},
        appArmorProfile={"type": "RuntimeDefault"},
    ),
    "SELinux as usual": locked(seLinuxOptions={"type": "container_engine_t", "level": "s0:c1,c2"}),
}
REFUSED = {
    "allowPrivilegeEscalation is not false": locked(allowPrivilegeEscalation=None),
    "does not drop all capabilities": locked(capabilities={"drop": ["NET_RAW"]}),
    "adds capabilities": locked(capabilities={"drop": ["ALL"], "add": ["SYS_ADMIN"]}),
    "runAsNonRoot is not said": locked(runAsNonRoot=None),
    "runAsNonRoot is false": locked(runAsNonRoot=False),
    "runAsUser is 0": locked(runAsUser=0),
    "has no seccompProfile": locked(seccompProfile=None),
    "seccompProfile is another": locked(seccompProfile={"type": "Unconfined"}),
    "appArmorProfile is another": locked(appArmorProfile={"type": "Unconfined"}),
    "SELinux type is another": locked(seLinuxOptions={"type": "spc_t"}),
    "sets SELinux user or role": locked(seLinuxOptions={"role": "sysadm_r"}),
    "takes a port of its host": container(ports=[{"containerPort": 80, "hostPort": 80}]),
    "a probe or a hook names a host": container(livenessProbe={"httpGet": {"host": "a.example", "port": 80}}),
    "hook names a host": container(lifecycle={"preStop": {"tcpSocket": {"host": "a.example", "port": 80}}}),
    "hostNetwork is true": pod(hostNetwork=True),
    "hostPID is true": pod(hostPID=True),
    "hostIPC is true": pod(hostIPC=True),
    "of the kind hostPath": pod(volumes=[{"name": "x", "hostPath": {"path": "/"}}]),
    "of the kind nfs": pod(volumes=[{"name": "x", "nfs": {"server": "a", "path": "/"}}]),
    "sets the sysctl kernel.sem": pod(securityContext={"sysctls": [{"name": "kernel.sem", "value": "1"}]}),
    # Said for all containers, each of which says something good of its own.
    "runAsUser is 0 ": {**pod(), "securityContext": {"runAsUser": 0}, **locked(runAsUser=1000)},
    "runAsNonRoot is false ": {**pod(), "securityContext": {"runAsNonRoot": False}},
    "seccompProfile is another ": {**pod(), "securityContext": {"seccompProfile": {"type": "Unconfined"}}},
    "SELinux type is another ": {**pod(), "securityContext": {"seLinuxOptions": {"type": "spc_t"}}},
    # What no container says, of those that come first.
    "container first: runAsUser is 0": pod(
        initContainers=[{**CONTAINER, "name": "first", "securityContext": {**CONTEXT, "runAsUser": 0}}]
    ),
}
IMPOSSIBLE = {  # which an API server takes from nobody
    "is privileged": locked(privileged=True),
    "sets procMount": locked(procMount="Unmasked"),
    "is a process of its Windows host": locked(windowsOptions={"hostProcess": True}),
    "container look: has no seccompProfile": pod(
        ephemeralContainers=[{"name": "look", "securityContext": {**OWN, "runAsNonRoot": True}}]
    ),
}


@pytest.fixture(scope="module")
def restricted(bare_kube_api):
    """Our client in a namespace with restricted pods."""
    cluster = bare_kube_api.connect("restricted")
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    metadata = {"name": "restricted", "labels": labels}
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    return cluster


def create(cluster, spec: Object) -> None:
    name = {"generateName": "pod-", "namespace": cluster.namespace}
    cluster.create({"apiVersion": "v1", "kind": "Pod", "metadata": name, "spec": spec})


@pytest.mark.parametrize("spec", LET_THROUGH.values(), ids=LET_THROUGH)
def test_a_restricted_pod_is_let_through(restricted, spec):
    assert violations(spec) == []
    create(restricted, spec)


@pytest.mark.parametrize(("told", "spec"), {**REFUSED, **IMPOSSIBLE}.items(), ids=[*REFUSED, *IMPOSSIBLE])
def test_each_thing_that_restricted_pods_may_not_is_told(told, spec):
    (fault,) = violations(spec)
    assert told.strip() in fault


@pytest.mark.parametrize("spec", REFUSED.values(), ids=REFUSED)
def test_the_api_refuses_what_is_told(restricted, spec):
    with pytest.raises(ClusterError, match="violates PodSecurity"):
        create(restricted, spec)
