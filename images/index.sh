#!/bin/sh
# Give the images of several platforms one name, REGISTRY/kmeans:TAG, under which each machine pulls its own:
# images/index.sh REGISTRY TAG ALGORITHM... Their images are in the registry (make push PLATFORM=...), as TAG-amd64 and
# TAG-arm64; PLATFORMS in the environment names others.
set -eu
cd "$(dirname "$0")/.."
registry=$1
tag=$2
shift 2
platforms=${PLATFORMS:-linux/amd64 linux/arm64}

for algorithm in "$@"; do
    python3 images/requirements.py "$algorithm" "${DEVICE:-cpu}" "${PURPOSE:-all}" > /dev/null
done
docker info > /dev/null 2>&1 && engine=docker || engine=buildah
for algorithm in "$@"; do
    name=$(PLATFORM='' images/name.sh "$algorithm")
    target=$registry/${name#open-algorithms/}:$tag
    if [ $engine = docker ]; then
        sources=
        for platform in $platforms; do sources="$sources $target-${platform#linux/}"; done
        docker buildx imagetools create --tag "$target" $sources
    else
        tls=$(images/tls.sh "$registry")
        buildah manifest rm "$target" > /dev/null 2>&1 || true
        buildah manifest create "$target" > /dev/null
        for platform in $platforms; do
            buildah manifest add $tls "$target" "docker://$target-${platform#linux/}" > /dev/null
        done
        buildah manifest push --quiet --format v2s2 $tls "$target" "docker://$target"
        buildah manifest rm "$target" > /dev/null
    fi
    echo "$target is the image of" $platforms
done
