#!/bin/sh
# Builds Dockerfile.train where no registry can be reached, and trains in it on drawn photos.
#
#   sudo sh benchmarks/images/train_image.sh WORK_DIR [flags of `stocktake shelf train`]
#
# Needs buildah and debootstrap (apt install), root, about 30 GB in WORK_DIR, and a package index. The base is a
# bootstrapped Debian. The entry point then runs harder than Docker would run it: as user 1000 on a read-only root,
# without a network, with Docker's 64 MB of shared memory, with nothing writable but /out and /tmp.
set -eu
work=$(realpath -m "${1:?usage: train_image.sh WORK_DIR [flags]}")
shift
[ $# -gt 0 ] || set -- --img 160 --batch 4 --epochs 1
source=$(realpath "$(dirname "$0")/../..")
image=localhost/stocktake-train
base=localhost/python-base
ca=/etc/ssl/certs/ca-certificates.crt
mkdir -p "$work"

b() { buildah --root "$work/storage" --runroot "$work/runroot" --storage-driver vfs "$@"; }

if ! b inspect --type image $base > /dev/null 2>&1; then
    echo "== base: Debian bookworm with Python 3.11"
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$work/debian"
    rm -rf "$work"/debian/var/cache/apt/archives/*.deb "$work"/debian/var/lib/apt/lists/*
    container=$(b from scratch)
    b add "$container" "$work/debian" / > /dev/null
    b commit --rm "$container" $base > /dev/null
    rm -rf "$work/debian"
fi

echo "== image"
started=$(date +%s)
# One layer only: this storage driver, which works everywhere, copies all of the image for each.
b build --isolation chroot --layers=false --build-arg BASE=$base --secret id=ca,src=$ca \
    --tag $image --file "$source/Dockerfile.train" "$source"
echo "built in $(($(date +%s) - started)) s"
b images

echo "== drawn photos"
container=$(b from $image)
trap 'b rm "$container" > /dev/null' EXIT
root=$(b mount "$container")
rm -rf "$work/photos" "$work/out"
install -d -o 1000 -g 1000 "$work/photos" "$work/out"
user=$(b inspect --format '{{.OCIv1.Config.User}}' "$container")
b inspect --format '{{range .OCIv1.Config.Env}}{{println .}}{{end}}' "$container" > "$work/environment"
b inspect --format '{{range .OCIv1.Config.Entrypoint}}{{println .}}{{end}}' "$container" > "$work/entrypoint"
b run --isolation chroot --volume "$work/photos:/out" "$container" -- \
    stocktake shelf draw --out /out --train 24 --val 8 --test 8 --width 480 --height 640

echo "== what a pipeline step needs, and what nobody needs"
b run --isolation chroot "$container" -- sh -euc '
    _KFP_RUNTIME=true python3 -c "import kfp.dsl.executor_main"
    python3 -c "import cv2, mlflow, optuna, psutil, pynvml, torch, ultralytics"
    if python3 -c "import pip" 2> /dev/null || [ -e /run/secrets/ca ]; then
        echo "the image holds pip or the certificate of the build"
        exit 1
    fi
'

echo "== entry point: train $*"
# A mount namespace of its own: what is mounted here is gone when the command ends.
unshare --mount --net --pid --fork sh -eu -c '
    root=$1 work=$2 user=$3
    shift 3
    mount --bind "$root" "$root"
    mount --bind "$work/photos" "$root/data"
    mount --bind -o remount,ro "$root/data"
    mount --bind "$work/out" "$root/out"
    mount -t proc proc "$root/proc"
    mount -t tmpfs tmpfs "$root/tmp"
    mount -t tmpfs tmpfs "$root/dev"
    mknod -m 666 "$root/dev/null" c 1 3
    mknod -m 666 "$root/dev/urandom" c 1 9
    mkdir "$root/dev/shm"
    mount -t tmpfs -o size=64m,mode=1777 tmpfs "$root/dev/shm"
    mount --bind -o remount,ro "$root"
    exec chroot --userspec="$user" "$root" env -i --chdir=/out \
        $(cat "$work/environment") $(cat "$work/entrypoint") "$@"
' sh "$root" "$work" "$user" train "$@"

echo "== left in /out"
du -ah "$work/out" | grep -E "model/|report.html|results.csv|mlflow.db"
