#!/usr/bin/env bash
# Run a command with a Docker engine: the one that answers, or one started for it and ended after it.
#   testcontainers/with_engine.sh COMMAND...
# Where no engine can be had the command is not run, and that is said loudly; with CI set, it is a failure.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

started=false
if ! docker info >/dev/null 2>&1; then
  told=$("$here/start_engine.sh")
  status=$?
  if [ $status -ne 0 ]; then
    echo "**********************************************************************" >&2
    echo "*** NO DOCKER ENGINE: THE CONTAINER TESTS WERE NOT RUN (status $status) ***" >&2
    echo "*** Start Docker, or run this as root on Debian.                   ***" >&2
    echo "**********************************************************************" >&2
    if [ -n "${CI:-}" ] && [ $status -ne 3 ]; then exit 1; fi
    exit 0
  fi
  started=true
  export "${told?}"
else
  "$here/start_engine.sh" >/dev/null
fi
stop() { if $started; then "$here/start_engine.sh" stop; fi; }
trap stop EXIT
trap 'exit 130' INT TERM
"$@"
