"""Write, read and delete an object in every bucket of BUCKETS, and be refused without credentials."""

import os
import secrets
import sys

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError


def main() -> int:
    """Returns 0 when the store does what it should."""
    client, stranger = boto3.client("s3"), boto3.client("s3", config=Config(signature_version=UNSIGNED))
    for bucket in os.environ["BUCKETS"].split(","):
        place, content = (
            {"Bucket": bucket, "Key": f"helm-test-{secrets.token_hex(8)}"},
            secrets.token_bytes(65536),
        )
        client.put_object(**place, Body=content)
        try:
            if client.get_object(**place)["Body"].read() != content:
                return _fail(f"bucket {bucket}: what comes back is not what was written")
            try:
                stranger.get_object(**place)
                return _fail(f"bucket {bucket}: anybody may read it")
            except ClientError:
                print(f"bucket {bucket}: written, read, closed to strangers")
        finally:
            client.delete_object(**place)
    return 0


def _fail(line: str) -> int:
    print(line, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
