#!/bin/sh
# Print the name of the image of an algorithm, with DEVICE, PURPOSE and PLATFORM from the environment: images/name.sh kmeans
set -eu
name=open-algorithms/$1
[ "${DEVICE:-cpu}" = cpu ] || name=$name-$DEVICE
[ "${PURPOSE:-all}" = all ] || name=$name-$PURPOSE
[ -z "${PLATFORM:-}" ] || name=$name-${PLATFORM#linux/}
echo "$name"
