#!/bin/sh
# Push images to a registry, each under its algorithm's name: images/push.sh REGISTRY TAG ALGORITHM...
# The images were built before (make image ALGORITHM=...), which is looked at for all of them before the first is pushed.
# Those of a PLATFORM have it in their tag, REGISTRY/kmeans:TAG-arm64, for images/index.sh to put together.
# A registry on this machine may speak plain HTTP.
set -eu
cd "$(dirname "$0")/.."
registry=$1
tag=$2
shift 2

docker info > /dev/null 2>&1 && engine=docker || engine=buildah
digests=$(mktemp)
trap 'rm -f "$digests"' EXIT
missing=
for algorithm in "$@"; do
    $engine inspect --type image "$(images/name.sh "$algorithm")" > /dev/null 2>&1 || missing="$missing $algorithm"
done
if [ -n "$missing" ]; then
    for algorithm in $missing; do
        python3 images/requirements.py "$algorithm" "${DEVICE:-cpu}" "${PURPOSE:-all}" > /dev/null
    done
    echo "nothing was pushed, for these images are not built:$missing; make image ALGORITHM=…${PLATFORM:+ PLATFORM=$PLATFORM} builds one" >&2
    exit 1
fi
for algorithm in "$@"; do
    source=$(images/name.sh "$algorithm")
    repository=$(PLATFORM='' images/name.sh "$algorithm")
    target=$registry/${repository#open-algorithms/}:$tag${PLATFORM:+-${PLATFORM#linux/}}
    if [ $engine = docker ]; then
        docker tag "$source" "$target"
        docker push "$target" > "$digests"
        cat "$digests"
        digest=$(sed -n 's/.*digest: \(sha256:[0-9a-f]*\).*/\1/p' "$digests" | tail -n 1)
    else
        buildah push --quiet $(images/tls.sh "$registry") --digestfile "$digests" "localhost/$source" "docker://$target"
        digest=$(cat "$digests")
    fi
    statement=out/provenance/${source#open-algorithms/}.json
    if [ -f "$statement" ]; then
        python3 images/provenance.py pushed "$statement" "$target" "$digest"
    fi
    echo "pushed $target@$digest"
done
