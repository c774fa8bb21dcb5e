"""Over a thin link an object takes longer than a server may be silent, and so does its end."""

from stocktake.settings import load_settings
from stocktake.storage import open_store
from tests.slow_s3 import slow_s3


def test_a_large_object_is_put_over_a_thin_link(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    size = 5 << 20
    with slow_s3(bytes_per_s=1e6) as (url, read):
        monkeypatch.setenv("S3_ENDPOINT_URL", url)
        impatient = load_settings(s3_retries=0, s3_answer_s=1, aws_region="us-east-1")
        open_store("s3://bucket/photos", impatient).put("photo", bytes(size))
    assert read == [size]
