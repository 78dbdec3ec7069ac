#!/bin/sh
# Print the option by which buildah speaks to the registry: one on this machine may speak plain HTTP. images/tls.sh REGISTRY
case $1 in
    localhost:* | 127.*) echo --tls-verify=false ;;
esac
