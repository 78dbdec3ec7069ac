#!/bin/sh
# Print the name of the image of an algorithm, with DEVICE, PURPOSE and PLATFORM from the environment: images/name.sh kmeans
set -eu
case ${PLATFORM:-} in
    '' | linux/amd64 | linux/arm64) ;;
    *) echo "PLATFORM is '$PLATFORM'; it must be one of linux/amd64, linux/arm64" >&2; exit 1 ;;
esac
name=open-algorithms/$1
[ "${DEVICE:-cpu}" = cpu ] || name=$name-$DEVICE
[ "${PURPOSE:-all}" = all ] || name=$name-$PURPOSE
[ -z "${PLATFORM:-}" ] || name=$name-${PLATFORM#linux/}
echo "$name"
