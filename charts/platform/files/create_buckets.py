"""Make the buckets of BUCKETS that are missing; what is there stays as it is."""

import os
import sys

import boto3
from botocore.exceptions import BotoCoreError, ClientError


def main() -> int:
    """Returns 0 when every bucket is there."""
    client = boto3.client("s3")
    for bucket in os.environ["BUCKETS"].split(","):
        try:
            print(f"bucket {bucket}: {_ensure(client, bucket)}")
        except (BotoCoreError, ClientError) as error:
            print(f"bucket {bucket}: {error}", file=sys.stderr)
            return 1
    return 0


def _ensure(client: "boto3.client", bucket: str) -> str:
    try:
        client.head_bucket(Bucket=bucket)
        return "is there"
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise
    region = client.meta.region_name
    where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    try:
        client.create_bucket(Bucket=bucket, **where)
    except client.exceptions.BucketAlreadyOwnedByYou:
        return "is there"  # somebody else was faster
    return "made"


if __name__ == "__main__":
    sys.exit(main())
