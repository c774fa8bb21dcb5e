"""Bodies packed and unpacked."""

import gzip
import zlib

import pytest

from serving.predictors.bodies import MIN_PACKED, pack, unpack
from serving.predictors.errors import BodyTooLarge
from stocktake.errors import BadRequest

BODY = bytes(range(256)) * 8


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_unpack(encoding, compress):
    for body in (b"", b"k", BODY):
        assert unpack(compress(body), encoding, len(BODY)) == body
        assert unpack(bytearray(compress(body)), encoding, len(BODY)) == body
    with pytest.raises(BodyTooLarge, match="larger than 2,047 bytes"):
        unpack(compress(BODY), encoding, len(BODY) - 1)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_every_prefix_is_cut_off(encoding):
    packed = gzip.compress(BODY) if encoding == "gzip" else zlib.compress(BODY)

    for end in range(len(packed)):
        with pytest.raises(BadRequest):
            unpack(packed[:end], encoding, len(BODY))
    with pytest.raises(BadRequest, match="goes on after the end"):
        unpack(packed + b"\0", encoding, len(BODY))


def test_a_bomb_is_not_unpacked():
    bomb = zlib.compress(bytes(1 << 26))

    with pytest.raises(BodyTooLarge):
        unpack(bomb, "deflate", 1000)


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("", None),
        ("identity", None),
        ("br, zstd", None),
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("deflate, gzip", "gzip"),
        ("Gzip ; q=0.1", "gzip"),
        ("gzip;q=0", None),
        ("gzip; q=0.000 , deflate ;q=0.0", None),
        ("gzip;q=0.00,deflate", "deflate"),
        ("gzip;q=0.001", "gzip"),
        ("xgzip", None),
        (",;q=,", None),
    ],
)
def test_pack(accepted, encoding):
    packed, packed_as = pack(BODY, accepted)

    assert packed_as == encoding
    if encoding is None:
        assert packed is BODY
    else:
        assert len(packed) < len(BODY)
        assert unpack(packed, encoding, len(BODY)) == BODY


def test_short_bodies_are_not_packed():
    assert pack(bytes(MIN_PACKED - 1), "gzip") == (bytes(MIN_PACKED - 1), None)
    assert pack(bytes(MIN_PACKED), "gzip")[1] == "gzip"
