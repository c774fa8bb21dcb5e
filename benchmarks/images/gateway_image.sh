#!/bin/sh
# Builds the gateway's image where no registry can be reached, measures what it adds to its base, and asks it.
#
#   sudo sh benchmarks/images/gateway_image.sh WORK_DIR
#
# Needs what serve_image.sh needs. It runs as the image's user on a read-only root, without a network but for loopback.
set -eu
work=$(realpath -m "${1:?usage: gateway_image.sh WORK_DIR}")
. "$(dirname "$0")/container.sh"
make_base

echo "== image"
build_image gateway
measure

echo "== what nobody needs"
contained -- sh -euc '
    for module in pip torch kfp ultralytics mlflow pyarrow cv2 kserve grpc onnxruntime openvino serving.predictors stocktake.tuning; do
        if python -c "import $module" 2> /dev/null; then echo "the image holds $module"; exit 1; fi
    done
    echo "none of it is there"
'

echo "== started"
rm -rf "$work/data"
mkdir "$work/data"
chown "$user" "$work/data"
# shellcheck disable=SC2046  # one argument a line
contained "$work/data:data" "$source/benchmarks:mnt/benchmarks:ro" -- \
    env PYTHONPATH=/app:/mnt python -m benchmarks.images.gateway_image $(cat "$work/entrypoint") serve --port 8000
