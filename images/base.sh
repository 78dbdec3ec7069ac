#!/bin/sh
# Make a Debian bookworm base image without an image registry: images/base.sh NAME [ARCHITECTURE]
# It is what debian:bookworm-slim is: the minimal variant, without documentation (but with the copyright files) and
# translations. Needs root, and for another architecture than this machine's qemu-user-static.
set -eu
name=$1
architecture=${2:-$(dpkg --print-architecture)}
if [ "$architecture" != "$(dpkg --print-architecture)" ] && ! ls /proc/sys/fs/binfmt_misc/qemu-* > /dev/null 2>&1; then
    echo "programs for $architecture do not run here: apt-get install qemu-user-static; without systemd see docs/images.md" >&2
    exit 1
fi
folder=$(mktemp --directory)
trap 'rm -rf "$folder" "$folder.log"' EXIT

debootstrap --variant=minbase --arch="$architecture" bookworm "$folder" > "$folder.log" 2>&1 || { tail "$folder.log" >&2; exit 1; }
rm -rf "$folder"/var/cache/apt/* "$folder"/var/lib/apt/lists/* "$folder"/var/log/* \
       "$folder"/usr/share/man/* "$folder"/usr/share/info/* "$folder"/usr/share/locale/*
find "$folder"/usr/share/doc -type f ! -name copyright -delete
printf 'path-exclude /usr/share/%s/*\n' doc man info locale > "$folder"/etc/dpkg/dpkg.cfg.d/slim
echo 'path-include /usr/share/doc/*/copyright' >> "$folder"/etc/dpkg/dpkg.cfg.d/slim
cat > "$folder"/etc/apt/sources.list << 'SOURCES'
deb http://deb.debian.org/debian bookworm main
deb http://deb.debian.org/debian bookworm-updates main
deb http://deb.debian.org/debian-security bookworm-security main
SOURCES

working=$(buildah from scratch)
buildah add --quiet "$working" "$folder" / > /dev/null
buildah config --arch "$architecture" --cmd /bin/sh --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$working"
buildah commit --quiet --rm "$working" "$name" > /dev/null
