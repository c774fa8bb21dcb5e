"""Kubeflow Pipelines, asked over its REST API to run a pipeline that is uploaded there."""

from typing import Any

import httpx

from serving.gateway.errors import Unavailable

API = "apis/v2beta1"


class Unknown(Unavailable):
    """A run was asked for, and may have been started: what came back does not say."""


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
            Unknown: it was asked to, and does not say that it has refused.
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
            return await self._ask_for_run(
                http,
                {
                    "display_name": name,
                    "pipeline_version_reference": {
                        "pipeline_id": found["pipeline_id"],
                        "pipeline_version_id": version,
                    },
                    "runtime_config": {"parameters": parameters},
                },
            )

    async def _ask_for_run(self, http: httpx.AsyncClient, wanted: dict[str, Any]) -> str:
        where = f"POST {self._url}/{API}/runs"
        try:
            answer = await http.post(where.removeprefix("POST "), json=wanted)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise Unavailable(f"{where}: {type(error).__name__}") from error
        except httpx.HTTPError as error:
            raise Unknown(f"{where}: {type(error).__name__}; look whether it runs") from error
        if answer.is_client_error:
            raise Unavailable(f"{where}: {answer.status_code} {_reason(answer)}")
        try:
            return str(answer.raise_for_status().json()["run_id"])
        except (httpx.HTTPStatusError, ValueError, LookupError, TypeError) as error:
            said = f"{answer.status_code} {_reason(answer)}"
            raise Unknown(f"{where}: {said}; look whether it runs") from error

    async def _json(self, http: httpx.AsyncClient, method: str, path: str, **rest: Any) -> dict[str, Any]:
        where = f"{self._url}/{API}/{path}"
        try:
            answer = await http.request(method, where, **rest)
            said: dict[str, Any] = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise Unavailable(f"{method} {where}: {type(error).__name__}") from error
        if answer.is_error:
            raise Unavailable(f"{method} {where}: {answer.status_code} {_reason(answer)}")
        return said


def _reason(answer: httpx.Response) -> str:
    try:
        said = answer.json()
        return str(said.get("error_message") or said.get("message") or answer.reason_phrase)[:300]
    except (ValueError, AttributeError):
        return answer.reason_phrase
