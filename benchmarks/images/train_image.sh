#!/bin/sh
# Builds Dockerfile.train where no registry can be reached, and trains in it on drawn photos.
#
#   sudo sh benchmarks/images/train_image.sh WORK_DIR [flags of `stocktake shelf train`]
#
# Needs buildah and debootstrap (apt install), root, about 30 GB in WORK_DIR, and a package index. The entry point runs
# as user 1000 on a read-only root, without a network, with 64 MB of shared memory, with nothing writable but /out and /tmp.
set -eu
work=$(realpath -m "${1:?usage: train_image.sh WORK_DIR [flags]}")
shift
[ $# -gt 0 ] || set -- --img 160 --batch 4 --epochs 1
. "$(dirname "$0")/container.sh"
make_base

echo "== image"
started=$(date +%s)
# One layer only: vfs copies all of the image for each.
BUILDAH_LAYERS=false build_image train
echo "built in $(($(date +%s) - started)) s"
buildah images

echo "== drawn photos"
rm -rf "$work/photos" "$work/out"
install -d -o "${user%:*}" -g "${user#*:}" "$work/photos" "$work/out"
contained "$work/photos:out" -- stocktake shelf draw --out /out --train 24 --val 8 --test 8 --width 480 --height 640

echo "== what a pipeline step needs, and what nobody needs"
contained -- sh -euc '
    _KFP_RUNTIME=true python3 -c "import kfp.dsl.executor_main"
    python3 -c "import cv2, mlflow, optuna, psutil, pynvml, torch, ultralytics"
    if python3 -c "import pip" 2> /dev/null || [ -e /run/secrets/ca ]; then
        echo "the image holds pip or the certificate of the build"
        exit 1
    fi
'

echo "== entry point: train $*"
# shellcheck disable=SC2046  # one argument a line
contained "$work/photos:data:ro" "$work/out:out" -- $(cat "$work/entrypoint") train "$@"

echo "== left in /out"
du -ah "$work/out" | grep -E "model/|report.html|results.csv|mlflow.db"
