#!/bin/sh
# Build the image of one algorithm: images/build.sh ALGORITHM [TAG]; with DEVICE=gpu in the environment, for GPUs.
# With a Docker engine by `docker build`; else with buildah in a plain chroot, on a base that images/base.sh makes.
set -eu
algorithm=$1
device=${DEVICE:-cpu}
tag=${2:-open-algorithms/$algorithm$([ "$device" = cpu ] || echo "-$device")}
cd "$(dirname "$0")/.."

if docker info > /dev/null 2>&1; then
    exec docker build --build-arg ALGORITHM="$algorithm" --build-arg DEVICE="$device" --tag "$tag" .
fi
for tool in buildah debootstrap; do
    command -v $tool > /dev/null || { echo "there is no Docker engine; apt-get install buildah debootstrap" >&2; exit 1; }
done

base=${BASE_IMAGE:-localhost/bookworm-minbase}
buildah inspect --type image "$base" > /dev/null 2>&1 || images/base.sh "$base"

# This machine's settings of pip, and the authority it trusts, reach the build as secrets: no layer keeps them.
settings=$(mktemp --directory)
trap 'rm -rf "$settings"' EXIT
python3 images/pip_settings.py "$settings"
set -- --build-arg BASE_IMAGE="$base" --build-arg ALGORITHM="$algorithm" --build-arg DEVICE="$device" --tag "$tag"
for secret in "$settings"/*; do
    if [ -f "$secret" ]; then
        set -- "$@" --secret id="$(basename "$secret"),src=$secret"
    fi
done
# The Docker format, because OCI's knows no health check.
buildah bud --isolation chroot --format docker --layers "$@" .
