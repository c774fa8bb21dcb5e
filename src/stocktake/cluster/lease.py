"""One deploy of a service at a time, and what the next one has to know: a Lease beside the service."""

import json
import os
import secrets
import socket
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from stocktake.cluster.api import Cluster, ClusterError, Conflict, Kind, Object
from stocktake.cluster.rollout import Record, Served

LEASE = Kind("coordination.k8s.io/v1", "Lease")
MANAGER = "stocktake-deploy"
RECORD = "stocktake.dev/rollout"  # annotation that holds the record, as JSON
LEASE_S = 120


class LeaseLost(ClusterError):
    """Another deploy has taken over."""


class DeployLease:
    """The right to change one InferenceService. It ends when it is not renewed, as that of a killed deploy.

    Attributes:
        record: what is remembered of the service.
    """

    def __init__(self, cluster: Cluster, service: Object, seconds: int = LEASE_S):
        """`service`: the InferenceService, with which the Lease and the record go away.

        `seconds` of silence after which another deploy may take over.
        """
        self._cluster, self._seconds = cluster, seconds
        self._owner = {
            "apiVersion": service["apiVersion"],
            "kind": service["kind"],
            "name": service["metadata"]["name"],
            "uid": service["metadata"]["uid"],
        }
        self._name = f"deploy-{service['metadata']['name']}"
        self._holder = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self._version = ""
        self._acquired = self._renewed = _now()
        self.record = Record()

    def acquire(self) -> None:
        """Take it.

        Raises:
            ClusterError: another deploy holds it.
        """
        found = self._cluster.get(LEASE, self._name) or self._make()
        spec = found.get("spec") or {}
        holder, until = spec.get("holderIdentity"), _end(spec)
        if holder and until > _now():
            raise ClusterError(
                f"{self._owner['name']}: {holder} deploys to it; wait for it to end, or until its Lease "
                f"{self._name} runs out, at {until:%H:%M:%S} UTC if it has died"
            )
        self._version = found["metadata"]["resourceVersion"]
        self.record = read_record(found)
        self._acquired = _now()
        self._write()

    def renew(self) -> None:
        """Keep it; cheap where it is fresh.

        Raises:
            LeaseLost: another deploy has it by now.
        """
        if _now() - self._renewed > timedelta(seconds=self._seconds / 4):
            self._write()

    def check(self) -> None:
        """Make sure of it before a change.

        Raises:
            LeaseLost: another deploy has it by now.
        """
        found = self._cluster.get(LEASE, self._name)
        if found is None or found["metadata"]["resourceVersion"] != self._version:
            raise self._lost()
        self.renew()

    def save(self, record: Record) -> None:
        """Remember something else, and keep the lease.

        Raises:
            LeaseLost: another deploy has it by now.
        """
        if record != self.record:
            self.record = record
            self._write()

    def release(self) -> None:
        """Let others deploy; the record stays."""
        self._write(held=False)

    def _make(self) -> Object:
        bare = {"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": {"name": self._name}}
        try:
            return self._cluster.create(bare)
        except Conflict:  # another one was faster
            found = self._cluster.get(LEASE, self._name)
            if found is None:
                raise
            return found

    def _write(self, held: bool = True) -> None:
        """Only over what we have written or read ourselves."""
        now = _now()
        lease = {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.kind,
            "metadata": {
                "name": self._name,
                "resourceVersion": self._version,
                "ownerReferences": [self._owner],
                "annotations": {RECORD: json.dumps(asdict(self.record))},
            },
        }
        if held:
            lease["spec"] = {
                "holderIdentity": self._holder,
                "leaseDurationSeconds": self._seconds,
                "acquireTime": f"{self._acquired:%Y-%m-%dT%H:%M:%S.%fZ}",
                "renewTime": f"{now:%Y-%m-%dT%H:%M:%S.%fZ}",
            }
        try:
            written = self._cluster.apply(lease, MANAGER, force=True)
        except Conflict as error:
            raise self._lost() from error
        self._version, self._renewed = written["metadata"]["resourceVersion"], now

    def _lost(self) -> LeaseLost:
        return LeaseLost(
            f"{self._owner['name']}: another deploy has taken over, since this one was silent for more than "
            f"{self._seconds} s; the other one goes on from here"
        )


def read_record(lease: Mapping[str, Any] | None) -> Record:
    """What a Lease remembers; nothing where there is none, or it was written by hand."""
    annotations = ((lease or {}).get("metadata") or {}).get("annotations") or {}
    try:
        fields = json.loads(annotations[RECORD])
        models = {
            name: Served(**fields[name]) if fields[name] else None
            for name in ("serving", "previous", "candidate")
        }
        return Record(**models, way=fields["way"], back=fields["back"], report=fields["report"])
    except (KeyError, ValueError, TypeError):
        return Record()


def _end(spec: Mapping[str, Any]) -> datetime:
    renewed = spec.get("renewTime")
    if not renewed:
        return datetime.min.replace(tzinfo=UTC)
    return datetime.fromisoformat(renewed) + timedelta(seconds=spec.get("leaseDurationSeconds") or 0)


def _now() -> datetime:
    return datetime.now(UTC)
