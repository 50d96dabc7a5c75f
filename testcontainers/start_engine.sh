#!/usr/bin/env bash
# A Docker engine for the container tests, on a Debian machine where one may be installed (root).
#
#   testcontainers/start_engine.sh         prints DOCKER_HOST=... once the engine answers and the base image is there
#   testcontainers/start_engine.sh stop    ends the engine this script started, and its containers with it
#
# Exit status 3: this machine may not have one (not root, or no apt); the reason is on standard error.
# An engine that answers already is used as it is. Where debian:bookworm-slim cannot be pulled it is made from packages.
set -euo pipefail

base_image=debian:bookworm-slim
state=${BRIDGE_ENGINE_DIR:-/var/lib/bridge-test-engine}
socket=unix://$state/docker.sock

say() { echo "start_engine: $*" >&2; }
answers() { docker info >/dev/null 2>&1; }

stop_engine() {
  [ -f "$state/dockerd.pid" ] || return 0
  local pid containers
  pid=$(cat "$state/dockerd.pid")
  export DOCKER_HOST=$socket
  containers=$(docker ps -q 2>/dev/null || true)
  # shellcheck disable=SC2086
  [ -z "$containers" ] || docker kill $containers >/dev/null 2>&1 || true
  kill "$pid" 2>/dev/null || true
  for _ in $(seq 1 60); do kill -0 "$pid" 2>/dev/null || break; sleep 0.5; done
  rm -f "$state/dockerd.pid"
}

install() {
  [ "$(id -u)" = 0 ] || { say "no engine answers, and only root can start one"; exit 3; }
  command -v apt-get >/dev/null || { say "no engine answers, and without apt-get none can be installed"; exit 3; }
  say "installing $*"
  local log
  log=$(mktemp)
  if ! { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"; } \
    >"$log" 2>&1; then
    tail -n 10 "$log" >&2
    exit 1
  fi
  rm -f "$log"
}

start_engine() {
  command -v dockerd >/dev/null && command -v docker-compose >/dev/null || install docker.io docker-compose iptables
  [ "$(id -u)" = 0 ] || { say "only root can start dockerd"; exit 3; }
  mkdir -p "$state"
  export DOCKER_HOST=$socket
  setsid dockerd --host "$socket" --pidfile "$state/dockerd.pid" --data-root "$state/data" --exec-root "$state/exec" \
    >"$state/dockerd.log" 2>&1 </dev/null &
  for _ in $(seq 1 120); do answers && return; sleep 0.5; done
  say "the engine gave no answer in 60 s:"
  tail -n 10 "$state/dockerd.log" >&2
  exit 1
}

make_base_image() {
  docker image inspect "$base_image" >/dev/null 2>&1 && return
  if timeout 60 docker pull -q "$base_image" >/dev/null 2>&1; then return; fi
  command -v mmdebstrap >/dev/null || install mmdebstrap
  say "making $base_image from packages"
  local packed sources=/etc/apt/sources.list
  packed=$(mktemp --suffix=.tar)
  [ -f /etc/apt/sources.list.d/debian.sources ] && sources=/etc/apt/sources.list.d/debian.sources
  mmdebstrap --quiet --variant=minbase --mode=root bookworm "$packed" "$sources" >&2
  docker import "$packed" "$base_image" >/dev/null
  rm -f "$packed"
}

if [ "${1:-}" = stop ]; then
  stop_engine
  exit 0
fi
if ! answers; then
  # Started here earlier, by another shell that knew its address.
  if [ -S "$state/docker.sock" ] && DOCKER_HOST=$socket docker info >/dev/null 2>&1; then
    export DOCKER_HOST=$socket
  else
    start_engine
  fi
fi
make_base_image
echo "DOCKER_HOST=${DOCKER_HOST:-unix:///var/run/docker.sock}"
