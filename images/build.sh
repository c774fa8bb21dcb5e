#!/bin/sh
# Builds targets of Dockerfile.train and Dockerfile.serve with docker, podman or buildah, whichever works here:
#
#   images/build.sh TARGET ...    train, predictor-cpu, predictor-gpu, gateway; sbom-TARGET writes dist/stocktake-TARGET.cdx.json
#
# ENGINE            one of the three; without it the first of them whose `info` answers, which a client without its
#                   daemon does not
# REGISTRY          goes before the names, such as registry.example.org/shops; nothing is pushed
# BASE, INSTALL_ARGS, PIP_INDEX_URL, UV_DEFAULT_INDEX
#                   build arguments, see docs/images.md
# CA                a file with the certificates that the build trusts; it does not get into the image
set -eu
cd "$(dirname "$0")/.."

working_engine() {
    for engine in docker podman buildah; do
        if command -v $engine > /dev/null && $engine info > /dev/null 2>&1; then
            echo $engine
            return
        fi
    done
    echo "none of docker, podman and buildah works here; start docker's daemon, or on Debian: apt-get install buildah" >&2
    return 1
}

dockerfile_of() { # TARGET
    for file in Dockerfile.train Dockerfile.serve; do
        if grep -q "^FROM .* AS $1\$" $file; then
            echo $file
            return
        fi
    done
    echo "there is no target $1 in Dockerfile.train and Dockerfile.serve" >&2
    return 1
}

build() { # TARGET
    target=$1
    file=$(dockerfile_of "$target")
    set -- build --file "$file" --target "$target"
    # Only Docker's own format knows health checks; its engine writes nothing else.
    [ "$engine" = docker ] || set -- "$@" --format docker
    for name in BASE INSTALL_ARGS PIP_INDEX_URL UV_DEFAULT_INDEX; do
        eval "value=\${$name:-}"
        [ -z "$value" ] || set -- "$@" --build-arg "$name=$value"
    done
    [ -z "${CA:-}" ] || set -- "$@" --secret "id=ca,src=$CA"
    case $target in
        sbom-*)
            mkdir -p dist
            set -- "$@" --output type=local,dest=dist
            ;;
        *)
            # Labels that change with each commit are given here, where they void no layer.
            set -- "$@" --tag "${REGISTRY:+$REGISTRY/}stocktake-$target:$version" \
                --label "org.opencontainers.image.version=$version" \
                --label "org.opencontainers.image.revision=$revision"
            ;;
    esac
    echo "== $engine $*"
    $engine "$@" .
}

[ $# -gt 0 ] || { sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2; }
engine=${ENGINE:-$(working_engine)}
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
revision=$(git describe --always --dirty --abbrev=40 --exclude '*' 2> /dev/null || echo unknown)
export DOCKER_BUILDKIT=1 BUILDAH_LAYERS="${BUILDAH_LAYERS:-true}"
for target in "$@"; do dockerfile_of "$target" > /dev/null; done
for target in "$@"; do build "$target"; done
