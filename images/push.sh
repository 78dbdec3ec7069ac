#!/bin/sh
# Push images to a registry, each under its algorithm's name: images/push.sh REGISTRY TAG ALGORITHM...
# The images were built before (make image ALGORITHM=...). A registry on this machine may speak plain HTTP.
set -eu
registry=$1
tag=$2
shift 2

docker info > /dev/null 2>&1 && engine=docker || engine=buildah
for algorithm in "$@"; do
    source=open-algorithms/$algorithm
    target=$registry/$algorithm:$tag
    if [ $engine = docker ]; then
        docker tag "$source" "$target"
        docker push "$target"
    else
        case $registry in
            localhost:* | 127.*) tls=--tls-verify=false ;;
            *) tls= ;;
        esac
        buildah push --quiet $tls "localhost/$source" "docker://$target"
    fi
    echo "pushed $target"
done
