#!/usr/bin/env bash
# For tests on a machine without a Docker engine or a way to fetch images: starts the one, makes the other.
#
#     docker/test-setup.sh start FOLDER    then: export DOCKER_HOST=unix://FOLDER/docker.sock
#     docker/test-setup.sh stop FOLDER
#
# Takes root, docker.io and mmdebstrap. The base image has the name that the Dockerfiles use. Where this machine
# has its own certificates for pip, named by PIP_CERT, they are in it too, at a place of their own.
# Ends with 3, and one line that says why, on a machine that lets no engine run.
set -euo pipefail

BASE=debian:bookworm-slim
action=${1:?start or stop}
folder=$(realpath -m "${2:?a folder}")
export DOCKER_HOST="unix://$folder/docker.sock"

refuse() {
    echo "no container engine can run here: $1" >&2
    exit 3
}

start_engine() {
    if docker info > /dev/null 2>&1; then return; fi
    [ "$(id -u)" = 0 ] || refuse "it takes root"
    nohup dockerd --iptables=false --bridge=none --data-root "$folder/data" --exec-root "$folder/exec" \
        --pidfile "$folder/docker.pid" --host "$DOCKER_HOST" --group "${SUDO_GID:-0}" > "$folder/dockerd.log" 2>&1 &
    for _ in $(seq 120); do
        if docker info > /dev/null 2>&1; then return; fi
        kill -0 $! 2> /dev/null || break
        sleep 0.5
    done
    refuse "dockerd does not start: $(tail -n 1 "$folder/dockerd.log")"
}

# Machines that let an engine start may still let it run nothing: a program of this machine is soon tried.
try_engine() {
    local program libraries
    program=$(realpath /bin/true)
    libraries=$(ldd "$program" | grep -o '/[^ ]*')
    # shellcheck disable=SC2086  # one a word
    tar --create --dereference --file "$folder/trial.tar" --directory / --absolute-names "$program" $libraries
    docker import "$folder/trial.tar" edgegrow-trial > /dev/null
    docker run --rm --network none edgegrow-trial "$program" 2> "$folder/trial.log" ||
        refuse "containers do not: $(head -n 1 "$folder/trial.log")"
    docker image rm edgegrow-trial > /dev/null
    rm "$folder/trial.tar"
}

make_base() {
    if docker image inspect "$BASE" > /dev/null 2>&1; then return; fi
    local tarball="$folder/base.tar"
    if [ ! -f "$tarball" ]; then
        mmdebstrap --quiet --mode=root --variant=minbase --dpkgopt=force-unsafe-io --aptopt='Acquire::Retries "3"' \
            bookworm "$folder/partial.tar"
        mv "$folder/partial.tar" "$tarball"
    fi
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
    try_engine
    make_base
    ;;
stop)
    if engine=$(cat "$folder/docker.pid" 2> /dev/null); then
        kill "$engine" 2> /dev/null || true
        for _ in $(seq 120); do
            kill -0 "$engine" 2> /dev/null || break
            sleep 0.5
        done
    fi
    # The engine mounts its data over itself, and more below; it does not always come to undoing it.
    awk -v below="$folder/" 'index($5, below) == 1 { print $5 }' /proc/self/mountinfo |
        sort --reverse | xargs --no-run-if-empty umount --lazy
    ;;
*)
    echo "usage: $0 start|stop FOLDER" >&2
    exit 2
    ;;
esac
