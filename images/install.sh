#!/bin/sh
# What the stages of Dockerfile.train and Dockerfile.serve run; pyproject.toml and constraints.txt lie one folder up.
#
#   install.sh environment DIR EXTRA [LIST ...]   the packages of an extra into a virtual environment
#   install.sh code DIR ENVIRONMENT [LIST ...]    our library into DIR, to be run by that environment's Python
#   install.sh sbom ENVIRONMENT FILE              what is in an environment, as CycloneDX in JSON
#
# Lists say what is left out: a kind, what, and the reason behind a '#':
#
#   package NAME    is not installed, nor what only it needs
#   needs NAME      the package is installed, what it needs is not
#   path GLOB       is removed from the site-packages of the environment, or from DIR
#
# INSTALL_ARGS are more arguments of `uv pip install`, PIP_INDEX_URL and UV_DEFAULT_INDEX the index of a mirror, for
# pip (which fetches uv) and for uv. A certificate in /run/secrets/ca is trusted.
set -eu
source=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}

if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca SSL_CERT_FILE=/run/secrets/ca; fi
# Files get another time when they are copied into an image, and bytecode that is checked by time would be void.
export PYC_INVALIDATION_MODE=UNCHECKED_HASH UV_LINK_MODE=copy UV_NO_CACHE=1

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

tool() { # PACKAGE: its programs, in the version of constraints.txt
    $python -m venv "$work/$1"
    "$work/$1/bin/pip" install --quiet --no-cache-dir --disable-pip-version-check \
        --constraint "$source/constraints.txt" "$1"
}

listed() { # KIND [LIST ...]
    kind=$1
    shift
    [ $# -eq 0 ] || sed -n "s/^$kind  *\([^ #]*\).*/\1/p" "$@"
}

remove() { # FOLDER [LIST ...]
    folder=$1
    shift
    listed path "$@" | while read -r glob; do
        found=no
        for path in "$folder"/$glob; do
            if [ -e "$path" ]; then rm -r "$path" && found=yes; fi
        done
        if [ $found = no ]; then
            echo "$folder/$glob is not there any more; look at $*" >&2
            exit 1
        fi
    done
}

environment() { # DIR EXTRA [LIST ...]
    dir=$1 extra=$2
    shift 2
    tool uv
    # An override that is never true leaves a package out, whoever asks for it.
    { listed package "$@" && listed needs "$@"; } | sed "s/$/ ; python_version < '3'/" > "$work/overrides.txt"
    export VIRTUAL_ENV="$dir"
    "$work/uv/bin/uv" venv --quiet --python "$python" "$dir"
    # shellcheck disable=SC2086  # several arguments
    "$work/uv/bin/uv" pip install --quiet --compile-bytecode --constraint "$source/constraints.txt" \
        --override "$work/overrides.txt" --requirements "$source/pyproject.toml" --extra "$extra" ${INSTALL_ARGS:-}
    for package in $(listed needs "$@"); do
        "$work/uv/bin/uv" pip install --quiet --compile-bytecode --constraint "$source/constraints.txt" \
            --no-deps "$package"
    done
    remove "$("$dir/bin/python" -c 'import sysconfig; print(sysconfig.get_path("platlib"))')" "$@"
}

code() { # DIR ENVIRONMENT [LIST ...]
    dir=$1 environment=$2
    shift 2
    tool uv
    # Programs in DIR/bin name the environment's Python, which need not be there yet.
    [ -e "$environment" ] || "$work/uv/bin/uv" venv --quiet --python "$python" "$environment"
    cp -r "$source" "$work/source"
    "$work/uv/bin/uv" pip install --quiet --python "$environment/bin/python" --target "$dir" --no-deps \
        --build-constraints "$source/constraints.txt" "$work/source"
    remove "$dir" "$@"
    "$environment/bin/python" -m compileall -q --invalidation-mode unchecked-hash "$dir"
}

sbom() { # ENVIRONMENT FILE
    tool cyclonedx-bom
    "$work/cyclonedx-bom/bin/cyclonedx-py" environment --pyproject "$source/pyproject.toml" \
        --output-reproducible --output-file "$2" "$1/bin/python"
}

case ${1:-} in
    environment | code | sbom) "$@" ;;
    *)
        sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
        exit 2
        ;;
esac
