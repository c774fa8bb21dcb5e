"""Kubeflow Pipelines, asked over its REST API to run a pipeline that is uploaded there."""

from typing import Any

import httpx

from serving.gateway.errors import Unavailable

API = "apis/v2beta1"


class PipelinesClient:
    """One Kubeflow Pipelines API."""

    def __init__(self, url: str, token: str | None = None, namespace: str | None = None):
        """`url`: its base; `token`: of a ServiceAccount, where it asks for one; `namespace`: of the runs."""
        self._url, self._namespace = url.rstrip("/"), namespace
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    async def start(self, pipeline: str, name: str, parameters: dict[str, Any]) -> str:
        """Run the newest version of a pipeline; returns the id of the run.

        Raises:
            Unavailable: it does not answer, knows no such pipeline, or refuses; says which.
        """
        query = {"namespace": self._namespace} if self._namespace else {}
        async with httpx.AsyncClient(headers=self._headers, timeout=30, trust_env=False) as http:
            found = await self._json(http, "GET", f"pipelines/names/{pipeline}", params=query)
            versions = await self._json(
                http,
                "GET",
                f"pipelines/{found['pipeline_id']}/versions",
                params={"page_size": "1", "sort_by": "created_at desc"},
            )
            if not versions.get("pipeline_versions"):
                raise Unavailable(
                    f"pipeline {pipeline} has no version; `python -m pipelines submit` uploads one"
                )
            version = versions["pipeline_versions"][0]["pipeline_version_id"]
            run = await self._json(
                http,
                "POST",
                "runs",
                json={
                    "display_name": name,
                    "pipeline_version_reference": {
                        "pipeline_id": found["pipeline_id"],
                        "pipeline_version_id": version,
                    },
                    "runtime_config": {"parameters": parameters},
                },
            )
        return str(run["run_id"])

    async def _json(self, http: httpx.AsyncClient, method: str, path: str, **rest: Any) -> dict[str, Any]:
        where = f"{self._url}/{API}/{path}"
        try:
            answer = await http.request(method, where, **rest)
            said: dict[str, Any] = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise Unavailable(f"{method} {where}: {type(error).__name__}") from error
        if answer.is_error:
            reason = said.get("error_message") or said.get("message") or answer.reason_phrase
            raise Unavailable(f"{method} {where}: {answer.status_code} {str(reason)[:300]}")
        return said
