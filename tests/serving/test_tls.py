"""A certificate: both ports speak TLS with it, and neither anything else."""

import shutil
import ssl

import grpc
import httpx
import pytest
import trustme
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from serving.predictors.settings import ServerSettings
from stocktake.errors import SettingsError
from tests.ports import free_ports
from tests.serving.conftest import NAME, serve


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


def issue(authority, certificate, key):
    """Write a certificate of 127.0.0.1, and its key."""
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(key)
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))


@pytest.fixture(scope="module")
def files(authority, tmp_path_factory):
    """The certificate of 127.0.0.1 and its key."""
    folder = tmp_path_factory.mktemp("tls")
    issue(authority, folder / "certificate.pem", folder / "key.pem")
    return folder / "certificate.pem", folder / "key.pem"


@pytest.fixture(scope="module")
def encrypted(authority, files, model_dirs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("encrypted")
    shutil.copytree(model_dirs[NAME], folder / "model")
    trusts = ssl.create_default_context()
    authority.configure_trust(trusts)
    arguments = ["--model_name", NAME, "--model_dir", folder / "model", "--threads", 1, "--drain_seconds", 0]
    arguments += ["--ssl_certfile", files[0], "--ssl_keyfile", files[1]]
    with serve(folder / "server.log", *arguments, trusts=trusts) as server:
        yield server


def test_rest_over_tls(encrypted, photos):
    response = httpx.post(
        f"{encrypted.url}/v1/models/{NAME}:predict",
        content=photos["shelf"],
        headers={"Content-Type": "image/jpeg"},
        verify=encrypted.trusts,
    )

    assert response.json()["predictions"][0]["products"] == 6
    with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
        httpx.get(f"{encrypted.url}/v2/health/live")
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{encrypted.http_port}/v2/health/live")


def test_grpc_over_tls(encrypted, authority):
    live = messages.ServerLiveRequest()
    trusts = grpc.ssl_channel_credentials(authority.cert_pem.bytes())

    with grpc.secure_channel(encrypted.grpc, trusts) as channel:
        assert GRPCInferenceServiceStub(channel).ServerLive(live).live
    for channel in (
        grpc.secure_channel(encrypted.grpc, grpc.ssl_channel_credentials()),
        grpc.insecure_channel(encrypted.grpc),
    ):
        with channel, pytest.raises(grpc.RpcError) as caught:
            GRPCInferenceServiceStub(channel).ServerLive(live)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


def test_a_certificate_without_its_key_is_refused_at_once(authority, files, tmp_path):
    other = tmp_path / "other.pem"
    authority.issue_cert("127.0.0.1").private_key_pem.write_to_path(other)
    (tmp_path / "text.pem").write_text("kumquat")
    ports = dict(zip(("http_port", "grpc_port"), free_ports(2), strict=True))

    for certificate, key in ((files[0], other), (tmp_path / "text.pem", files[1]), (files[1], files[1])):
        with pytest.raises(SettingsError, match="no certificate with its key") as caught:
            ServerSettings(**ports, ssl_certfile=certificate, ssl_keyfile=key)
        assert str(key) in str(caught.value)


def is_trusted(server, authority):
    trusts = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
    with grpc.secure_channel(server.grpc, trusts) as channel:
        try:
            return GRPCInferenceServiceStub(channel).ServerLive(messages.ServerLiveRequest()).live
        except grpc.RpcError:
            return False


def test_grpc_takes_a_renewed_certificate(encrypted, authority, files):
    other = trustme.CA()
    assert not is_trusted(encrypted, other)
    files[1].write_text("half writ")
    assert is_trusted(encrypted, authority)  # by the one before
    issue(other, *files)
    assert is_trusted(encrypted, other)
    assert not is_trusted(encrypted, authority)
