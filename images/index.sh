#!/bin/sh
# Give the images of several platforms one name, REGISTRY/kmeans:TAG, under which each machine pulls its own:
# images/index.sh REGISTRY TAG ALGORITHM... Their images are in the registry (make push PLATFORM=...), as TAG-amd64 and
# TAG-arm64; PLATFORMS in the environment names others. They are looked at for all algorithms before the first gets its name.
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
tls=$(images/tls.sh "$registry")
errors=$(mktemp)
lists=
trap 'rm -f "$errors"; for list in $lists; do buildah manifest rm "$list" > /dev/null 2>&1 || true; done' EXIT

repository() {
    name=$(PLATFORM='' images/name.sh "$1")
    echo "$registry/${name#open-algorithms/}"
}

# The last line of what an engine says is why; those before it are of places where it looked as well.
unread() {
    echo "no name was given, for $1 cannot be read: $(tail -n 1 "$errors")" >&2
    echo "make push REGISTRY=$registry TAG=$tag PLATFORM=$2 ALGORITHMS=… puts it there; PLATFORMS=… names other platforms" >&2
    exit 1
}

for algorithm in "$@"; do
    list=$(PLATFORM='' images/name.sh "$algorithm")-index
    if [ $engine = buildah ]; then
        buildah manifest rm "$list" > /dev/null 2>&1 || true
        buildah manifest create "$list" > /dev/null
        lists="$lists $list"
    fi
    for platform in $platforms; do
        source=$(repository "$algorithm"):$tag-${platform#linux/}
        if [ $engine = docker ]; then
            docker buildx imagetools inspect "$source" > /dev/null 2> "$errors" || unread "$source" "$platform"
        else
            buildah manifest add $tls "$list" "docker://$source" > /dev/null 2> "$errors" || unread "$source" "$platform"
        fi
    done
done
for algorithm in "$@"; do
    target=$(repository "$algorithm"):$tag
    if [ $engine = docker ]; then
        sources=
        for platform in $platforms; do sources="$sources $target-${platform#linux/}"; done
        docker buildx imagetools create --tag "$target" $sources
    else
        list=$(PLATFORM='' images/name.sh "$algorithm")-index
        buildah manifest push --quiet --format v2s2 $tls "$list" "docker://$target"
    fi
    echo "$target is the image of" $platforms
done
