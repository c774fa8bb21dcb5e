#!/bin/sh
# Builds a predictor image where no registry can be reached, measures what it adds to its base, and serves from it.
#
#   python -m benchmarks.serving.workload --work runs/serving     # draws photos, makes two models
#   sudo sh benchmarks/images/serve_image.sh WORK_DIR [runs/serving] [flags of serve_image.py]
#
# Needs buildah and debootstrap (apt install), root, about 4 GB in WORK_DIR, and a package index. The server runs as the
# image's user on a read-only root, without a network but for loopback.
set -eu
work=$(realpath -m "${1:?usage: serve_image.sh WORK_DIR [runs/serving] [flags]}")
workload=$(realpath "${2:-runs/serving}")
shift $(($# > 1 ? 2 : 1))
. "$(dirname "$0")/container.sh"
make_base

echo "== image"
started=$(date +%s)
build_image predictor-cpu
echo "built in $(($(date +%s) - started)) s"

measure

echo "== what nobody needs"
contained -- sh -euc '
    for module in pip torch kfp ultralytics mlflow pyarrow pandas kubernetes stocktake.tuning; do
        if python -c "import $module" 2> /dev/null; then echo "the image holds $module"; exit 1; fi
    done
    if [ -e /run/secrets/ca ]; then echo "the image holds the certificate of the build"; exit 1; fi
    echo "none of it is there"
'

echo "== served"
# shellcheck disable=SC2046  # one argument a line
contained "$workload/models:mnt/models:ro" "$workload/photos:mnt/photos:ro" "$source/benchmarks:mnt/benchmarks:ro" -- \
    env PYTHONPATH=/app:/mnt python -m benchmarks.images.serve_image "$@" --entrypoint $(cat "$work/entrypoint")
