"""KServe's own server with a model that counts the bytes of photos: the cost of the protocol and no other."""

import argparse
import base64
from typing import Any

import kserve


class ByteCount(kserve.Model):
    """Photos in base64 by v1 or v2, their sizes back."""

    def __init__(self, name: str):
        super().__init__(name)
        self.ready = True

    async def predict(
        self, payload: dict[str, Any] | kserve.InferRequest, _headers: dict[str, str] | None = None
    ) -> dict[str, Any] | kserve.InferResponse:
        """Decode the base64 and count."""
        if isinstance(payload, dict):
            return {"predictions": [_size(instance["image"]["b64"]) for instance in payload["instances"]]}
        sizes = [_size(text) for text in payload.inputs[0].data]
        output = kserve.InferOutput("size", [len(sizes)], "INT32", sizes)
        return kserve.InferResponse(payload.id or self.name, self.name, [output])


def _size(text: str) -> int:
    return len(base64.b64decode(text))


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--model", required=True, help="name in URLs")
    args, _ = parser.parse_known_args()  # kserve has read the ports already
    kserve.ModelServer().start([ByteCount(args.model)])


if __name__ == "__main__":
    main()
