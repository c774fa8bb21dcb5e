"""A real Kubernetes API server over a real etcd, on the loopback device; no nodes and no controllers.

It validates, prunes, defaults, owns fields, counts versions and checks permissions as every cluster does.
"""

import os
import secrets
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import urllib3
import yaml

from stocktake.cluster.api import Cluster, ClusterError, Kind
from stocktake.cluster.connection import connect
from tests.ports import free_ports
from tests.programs import need

DEFINITION = Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition")


class KubeApi:
    """etcd and kube-apiserver in one folder; `kubeconfig` is that of somebody who may do everything."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.etcd_port, peer_port, self.port = free_ports(3)
        self.url = f"https://127.0.0.1:{self.port}"
        self._tokens = {"admin": secrets.token_hex(16), "nobody": secrets.token_hex(16)}
        self._etcd = f"http://127.0.0.1:{self.etcd_port}"
        self._peer = f"http://127.0.0.1:{peer_port}"
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start both; return when the API says that it is ready."""
        key = self.folder / "service-accounts.key"
        subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
        tokens = self.folder / "tokens.csv"
        tokens.write_text(
            f'{self._tokens["admin"]},admin,1,"system:masters"\n{self._tokens["nobody"]},nobody,2\n'
        )
        self._run(
            "etcd", f"--data-dir={self.folder / 'etcd'}", "--unsafe-no-fsync", "--log-level=warn",
            f"--listen-client-urls={self._etcd}", f"--advertise-client-urls={self._etcd}",
            f"--listen-peer-urls={self._peer}", f"--initial-advertise-peer-urls={self._peer}",
            f"--initial-cluster=default={self._peer}",
        )  # fmt: skip
        self._run(
            "kube-apiserver", f"--etcd-servers={self._etcd}", "--bind-address=127.0.0.1",
            f"--secure-port={self.port}", f"--cert-dir={self.folder / 'certificates'}",
            f"--token-auth-file={tokens}", "--authorization-mode=RBAC",
            f"--service-account-signing-key-file={key}", f"--service-account-key-file={key}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--disable-admission-plugins=ServiceAccount",  # nobody makes the default account of a namespace
        )  # fmt: skip
        self._await_ready()

    def stop(self) -> None:
        for process in reversed(self._processes):  # killed: to end well, the API server needs etcd
            process.kill()
            process.wait()

    def kubeconfig(self, user: str = "admin", namespace: str = "default") -> Path:
        """A new file for kubectl and for us; `nobody` may do what a Role gives to that user."""
        path = self.folder / f"{user}-{namespace}.kubeconfig"
        entry: Mapping[str, Any] = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": self.url, "insecure-skip-tls-verify": True}}],
            "users": [{"name": "test", "user": {"token": self._tokens[user]}}],
            "contexts": [
                {"name": "test", "context": {"cluster": "test", "user": "test", "namespace": namespace}}
            ],
        }
        path.write_text(yaml.safe_dump(entry))
        return path

    def connect(self, namespace: str = "default", user: str = "admin") -> Cluster:
        """Our own client of it."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("KUBECONFIG", str(self.kubeconfig(user, namespace)))
            return connect()

    def define(self, definitions: list[dict[str, Any]]) -> None:
        """Create custom resource definitions; return when their objects can be asked for."""
        cluster = self.connect()
        for each in definitions:
            cluster.create(each)
        waiting = [
            Kind(f"{spec['group']}/{version['name']}", spec["names"]["kind"])
            for spec in (each["spec"] for each in definitions)
            for version in spec["versions"]
        ]
        deadline = time.monotonic() + 300
        while waiting and time.monotonic() < deadline:
            waiting = [kind for kind in waiting if not is_listed(cluster, kind)]
        assert not waiting, f"not served: {waiting}"

    def _run(self, program: str, *flags: str) -> None:
        binary = need(program)
        environment = {**os.environ, "GOGC": "400", "GOMEMLIMIT": "600MiB"}  # time is dearer than memory
        with (self.folder / f"{program}.log").open("wb") as log:
            started = subprocess.Popen([binary, *flags], stdout=log, stderr=log, env=environment)
            self._processes.append(started)

    def _await_ready(self) -> None:
        http = urllib3.PoolManager(cert_reqs="CERT_NONE", retries=False, timeout=5)
        headers = {"Authorization": f"Bearer {self._tokens['admin']}"}
        deadline = time.monotonic() + 300
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        while time.monotonic() < deadline and all(each.poll() is None for each in self._processes):
            try:
                if http.request("GET", f"{self.url}/readyz", headers=headers).status == 200:
                    return
            except urllib3.exceptions.HTTPError:
                pass
            time.sleep(0.1)
        logs = [f"{each.name}: {each.read_text()[-1500:]}" for each in self.folder.glob("*.log")]
        raise RuntimeError("the Kubernetes API did not start\n" + "\n".join(logs))


def is_listed(cluster: Cluster, kind: Kind) -> bool:
    """Whether its objects can be asked for: discovery tells of them a little earlier."""
    try:
        return cluster.serves(kind) and cluster.list(kind) is not None
    except ClusterError:
        return False


def crds() -> list[dict[str, Any]]:
    """The custom resource definitions in the folder STOCKTAKE_CRDS."""
    folder = os.environ.get("STOCKTAKE_CRDS")
    if not folder:
        return []
    return [
        each
        for path in sorted(Path(folder).glob("*.yaml"))
        for each in yaml.load_all(path.read_text(), yaml.CSafeLoader)
        if each
    ]
