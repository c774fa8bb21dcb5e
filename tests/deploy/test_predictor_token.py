"""Predictors that ask for a token: started as pods are, probed and scraped without one, asked with it."""

import io

import httpx
import pytest
from PIL import Image

from stocktake.cluster import namespace
from stocktake.cluster.predictor_client import PredictorClient
from stocktake.errors import StoreError
from tests.kustomize import OVERLAYS, Objects, of_kind, render_with
from tests.pods import Object, pod_specs
from tests.serving.conftest import NAME, Server, serve
from tests.tiny_model import draw_photo, write_model_dir

TOKEN = "let-me-ask-0123456789"


@pytest.fixture(scope="module")
def render(tmp_path_factory):
    """Renders an overlay with the component."""

    def render(name: str) -> Objects:
        folder = tmp_path_factory.mktemp("overlay")
        return render_with(folder, [f"overlays/{name}"], ["components/predictor-token"])

    return render


@pytest.mark.parametrize("name", OVERLAYS)
def test_it_is_in_the_secret_that_gateway_and_pipelines_read(name, render):
    objects = render(name)
    (gateway,) = next(pod_specs(of_kind(objects, "Deployment")["gateway"]))["containers"]
    sources = {entry["name"]: entry.get("valueFrom", {}).get("secretKeyRef") for entry in gateway["env"]}
    wanted = {"name": namespace.PREDICTOR_SECRET, "key": "token", "optional": True}
    assert sources["STOCKTAKE_GATEWAY_PREDICTOR_TOKEN"] == wanted
    runtimes = of_kind(objects, "ServingRuntime")
    assert runtimes.keys() == {"stocktake-cpu", "stocktake-gpu"}  # canaries and rehearsals have one of them
    for made in runtimes.values():
        (container,) = made["spec"]["containers"]
        mount = container["volumeMounts"][-1]
        assert made["spec"]["volumes"][-1] == {
            "name": mount["name"], "secret": {"secretName": namespace.PREDICTOR_SECRET}
        }  # fmt: skip
        assert mount["readOnly"]
        assert container["args"][-1] == f"--token_file={mount['mountPath']}/token"


@pytest.fixture(scope="module")
def predictor(render, tmp_path_factory) -> tuple[Server, Object, Objects]:
    """A predictor with the arguments of a pod, the container that has them, and all objects."""
    folder, objects = tmp_path_factory.mktemp("pod"), render("gpu")
    (container,) = of_kind(objects, "ServingRuntime")["stocktake-gpu"]["spec"]["containers"]
    (folder / "token").write_text(TOKEN)
    here = {
        "{{.Name}}": NAME, "$(THREADS)": "1", "/mnt/models": str(write_model_dir(folder / "model")),
        container["volumeMounts"][-1]["mountPath"]: str(folder),
    }  # fmt: skip
    words = container["args"]
    for place, found in here.items():
        words = [word.replace(place, found) for word in words]
    with serve(folder / "server.log", *words, "--drain_seconds=0") as server:
        yield server, container, objects


def test_kubernetes_and_prometheus_need_none(predictor):
    server, container, objects = predictor
    probes = (container[f"{kind}Probe"] for kind in ("startup", "readiness", "liveness"))
    (scraped,) = of_kind(objects, "PodMonitor")["predictors"]["spec"]["podMetricsEndpoints"]
    for path in (*(probe["httpGet"]["path"] for probe in probes), scraped["path"]):
        assert httpx.get(f"{server.url}{path.replace('{{.Name}}', NAME)}").status_code == 200, path


@pytest.mark.parametrize("token", [None, "another-one-0123456789"])
def test_deploy_is_told_of_a_token_that_is_missing_or_wrong(predictor, token):
    with pytest.raises(StoreError, match=r"401.*give the server's token"):
        PredictorClient(predictor[0].url, NAME, token).metadata()


def test_with_it_a_photo_is_answered(predictor):
    photo = io.BytesIO()
    Image.fromarray(draw_photo([(0, 2), (1, 2), (2, 2)])).save(photo, "PNG")
    assert "report" in PredictorClient(predictor[0].url, NAME, TOKEN).infer(photo.getvalue())
