# What train_image.sh, serve_image.sh and gateway_image.sh share: a base, and an entry point run harder than Docker would run it.
# $work is their folder. STORAGE_DRIVER is how buildah keeps layers: vfs works everywhere and copies whole images,
# overlay does not.
source=$(realpath "$(dirname "$0")/../..")
base=localhost/python-base
mkdir -p "$work"
cat > "$work/storage.conf" << END
[storage]
driver = "${STORAGE_DRIVER:-vfs}"
graphroot = "$work/storage"
runroot = "$work/runroot"
END
export CONTAINERS_STORAGE_CONF="$work/storage.conf" BUILDAH_ISOLATION=chroot
unset STORAGE_DRIVER

make_base() { # Debian with Python 3.11, where no registry can be reached
    ! buildah inspect --type image $base > /dev/null 2>&1 || return 0
    echo "== base: Debian bookworm with Python 3.11"
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$work/debian"
    rm -rf "$work"/debian/var/cache/apt/archives/*.deb "$work"/debian/var/lib/apt/lists/*
    container=$(buildah from scratch)
    buildah add "$container" "$work/debian" / > /dev/null
    buildah commit --rm "$container" $base > /dev/null
    rm -rf "$work/debian"
}

build_image() { # TARGET: sets $container, $root, $user, and files with the environment and the entry point
    ENGINE=buildah BASE=$base CA=${CA:-/etc/ssl/certs/ca-certificates.crt} sh "$source/images/build.sh" "$1"
    version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$source/pyproject.toml")
    container=$(buildah from "localhost/stocktake-$1:$version")
    trap 'buildah rm "$container" > /dev/null' EXIT
    root=$(buildah mount "$container")
    user=$(buildah inspect --format '{{.OCIv1.Config.User}}' "$container")
    folder=$(buildah inspect --format '{{.OCIv1.Config.WorkingDir}}' "$container")
    buildah inspect --format '{{range .OCIv1.Config.Env}}{{println .}}{{end}}' "$container" > "$work/environment"
    buildah inspect --format '{{range .OCIv1.Config.Entrypoint}}{{println .}}{{end}}' "$container" > "$work/entrypoint"
}

bytes() { # ROOT [du's flag]
    du -sx --block-size=1 "$@" | cut -f1
}

measure() { # what the built root adds to its base, unpacked
    echo "== what it adds to its base, unpacked"
    bare=$(buildah from $base)
    bare_root=$(buildah mount "$bare")
    echo "apparent size: $((($(bytes --apparent-size "$root") - $(bytes --apparent-size "$bare_root")) / 1000000)) MB"
    echo "blocks on disk: $((($(bytes "$root") - $(bytes "$bare_root")) / 1000000)) MB"
    buildah rm "$bare" > /dev/null
    du -x --apparent-size -BM --max-depth=1 "$root"/opt/stocktake/lib/python3*/site-packages | sort -rn | sed -n '2,13s|/.*/||p'
}

# Runs a command in the built root as the image's user, on a read-only root, without a network but for loopback, with
# Docker's 64 MB of shared memory; FROM is mounted on TO. The mounts are of a namespace that ends with the command.
contained() { # FROM:TO[:ro] ... -- COMMAND ...
    unshare --mount --net --pid --fork sh -eu -c '
        root=$1 work=$2 user=$3 folder=$4
        shift 4
        ip link set lo up
        mount --bind "$root" "$root"
        mount -t tmpfs tmpfs "$root/mnt"
        while [ "$1" != -- ]; do
            from=${1%%:*} to=${1#*:}
            mkdir -p "$root/${to%:ro}"
            mount --bind "$from" "$root/${to%:ro}"
            [ "$to" = "${to%:ro}" ] || mount --bind -o remount,ro "$root/${to%:ro}"
            shift
        done
        shift
        mount -t proc proc "$root/proc"
        mount -t sysfs -o ro sysfs "$root/sys"
        mount -t tmpfs tmpfs "$root/tmp"
        mount -t tmpfs tmpfs "$root/dev"
        mknod -m 666 "$root/dev/null" c 1 3
        mknod -m 666 "$root/dev/urandom" c 1 9
        mkdir "$root/dev/shm"
        mount -t tmpfs -o size=64m,mode=1777 tmpfs "$root/dev/shm"
        mount --bind -o remount,ro "$root"
        exec chroot --userspec="$user" "$root" env -i --chdir="$folder" $(cat "$work/environment") "$@"
    ' sh "$root" "$work" "$user" "$folder" "$@"
}
