#!/bin/sh
# Build the image of one algorithm: images/build.sh ALGORITHM [TAG]. From the environment: DEVICE=gpu for GPUs,
# PURPOSE=serve for serving alone, PLATFORM=linux/arm64 for another processor than this machine's (by emulation).
# With a Docker engine by `docker build`; else with buildah in a plain chroot, on a base that images/base.sh makes.
set -eu
cd "$(dirname "$0")/.."
algorithm=$1
device=${DEVICE:-cpu}
purpose=${PURPOSE:-all}
platform=${PLATFORM:-}
tag=${2:-$(images/name.sh "$algorithm")}

version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
revision=$(git rev-parse HEAD 2> /dev/null || echo unknown)
source=${SOURCE:-unknown}
set -- --build-arg ALGORITHM="$algorithm" --build-arg DEVICE="$device" --build-arg PURPOSE="$purpose" \
    --build-arg VERSION="$version" --build-arg REVISION="$revision" --build-arg SOURCE="$source" --tag "$tag"
[ -z "$platform" ] || set -- "$@" --platform "$platform"
started=$(date -u +%Y-%m-%dT%H:%M:%SZ)
lock=$(python3 images/requirements.py "$algorithm" "$device" "$purpose")

# What the image is made from: provenance IMAGE_ID BASE BASE_DIGEST
provenance() {
    ALGORITHM=$algorithm DEVICE=$device PURPOSE=$purpose PLATFORM=$platform \
        python3 images/provenance.py built "$tag" "$1" "$2" "$3" "$started" "$lock"
}

if docker info > /dev/null 2>&1; then
    base=${BASE_IMAGE:-$(sed -n 's/^ARG BASE_IMAGE=//p' Dockerfile)}
    DOCKER_BUILDKIT=1 docker build --build-arg BASE_IMAGE="$base" "$@" .
    case $base in
        *@sha256:*) digest=sha256:${base##*@sha256:} ;;
        *) digest=$(docker image inspect --format '{{if .RepoDigests}}{{index .RepoDigests 0}}{{end}}' "$base" 2> /dev/null || true)
           digest=${digest##*@} ;;
    esac
    provenance "$(docker image inspect --format '{{.Id}}' "$tag")" "$base" "$digest"
    exit
fi
for tool in buildah debootstrap; do
    command -v $tool > /dev/null || { echo "there is no Docker engine; apt-get install buildah debootstrap" >&2; exit 1; }
done

architecture=${platform#linux/}
base=${BASE_IMAGE:-localhost/bookworm-minbase${architecture:+-$architecture}}
buildah inspect --type image "$base" > /dev/null 2>&1 || images/base.sh "$base" $architecture

# This machine's settings of pip, and the authority it trusts, reach the build as secrets: no layer keeps them.
settings=$(mktemp --directory)
trap 'rm -rf "$settings"' EXIT
python3 images/pip_settings.py "$settings"
for secret in "$settings"/*; do
    if [ -f "$secret" ]; then
        set -- "$@" --secret id="$(basename "$secret"),src=$secret"
    fi
done
# buildah takes layers from its cache by the text of ENV and LABEL, not by the values in them: where two algorithms need
# the same packages, the second's image was the first's, by name and all. So it is given the values as text.
text() { printf '%s' "$1" | sed 's/[&|\\]/\\&/g'; }
sed -e "s|\${ALGORITHM}|$(text "$algorithm")|g" -e "s|\${VERSION}|$(text "$version")|g" \
    -e "s|\${REVISION}|$(text "$revision")|g" -e "s|\${SOURCE}|$(text "$source")|g" Dockerfile > "$settings/Dockerfile"
# The Docker format, because OCI's knows no health check. One time for all files (that of images/layers.py), so that what
# did not change is the same layer.
buildah bud --isolation chroot --format docker --layers --timestamp 315532800 --build-arg BASE_IMAGE="$base" \
    --file "$settings/Dockerfile" "$@" .
provenance "$(buildah inspect --type image --format '{{.FromImageID}}' "$tag")" "$base" \
    "$(buildah inspect --type image --format '{{.FromImageDigest}}' "$base")"
