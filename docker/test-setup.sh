#!/usr/bin/env bash
# For tests on a machine without a Docker engine or a way to fetch images: starts the one, makes the other.
#
#     docker/test-setup.sh start FOLDER    then: export DOCKER_HOST=unix://FOLDER/docker.sock
#     docker/test-setup.sh stop FOLDER
#
# Takes root, docker.io and mmdebstrap. The base image has the name that the Dockerfiles use. Where this machine
# has its own certificates for pip, named by PIP_CERT, they are in it too, at a place of their own.
set -euo pipefail

BASE=debian:bookworm-slim
action=${1:?start or stop}
folder=$(realpath -m "${2:?a folder}")
export DOCKER_HOST="unix://$folder/docker.sock"

start_engine() {
    if docker info > /dev/null 2>&1; then return; fi
    nohup dockerd --iptables=false --bridge=none --data-root "$folder/data" --exec-root "$folder/exec" \
        --pidfile "$folder/docker.pid" --host "$DOCKER_HOST" > "$folder/dockerd.log" 2>&1 &
    for _ in $(seq 60); do
        if docker info > /dev/null 2>&1; then return; fi
        sleep 0.5
    done
    echo "dockerd does not start: see $folder/dockerd.log" >&2
    exit 1
}

make_base() {
    if docker image inspect "$BASE" > /dev/null 2>&1; then return; fi
    local tarball="$folder/base.tar"
    [ -f "$tarball" ] || mmdebstrap --quiet --mode=root --variant=minbase --dpkgopt=force-unsafe-io bookworm "$tarball"
    if [ -z "${PIP_CERT:-}" ]; then
        docker import "$tarball" "$BASE" > /dev/null
        return
    fi
    local own=/usr/local/share/test-certificates.crt
    mkdir -p "$folder/extra$(dirname "$own")"
    cp "$PIP_CERT" "$folder/extra$own"
    cp "$tarball" "$folder/with-certificates.tar"
    tar --append --owner=0 --group=0 --mode=a+rX --file "$folder/with-certificates.tar" -C "$folder/extra" ".$own"
    docker import --change "ENV PIP_CERT=$own" "$folder/with-certificates.tar" "$BASE" > /dev/null
    rm "$folder/with-certificates.tar"
}

case $action in
start)
    mkdir -p "$folder"
    start_engine
    make_base
    ;;
stop)
    [ ! -f "$folder/docker.pid" ] || kill "$(cat "$folder/docker.pid")"
    for _ in $(seq 60); do
        [ -f "$folder/docker.pid" ] || break
        sleep 0.5
    done
    umount "$folder/exec/netns/default" 2> /dev/null || true
    ;;
*)
    echo "usage: $0 start|stop FOLDER" >&2
    exit 2
    ;;
esac
