#!/usr/bin/env bash
# Kills a node at random moments under load and has the ledger judged: see --help. The work is in
# chaos/kill_loop.py, which needs system python with Debian's python3-grpcio and python3-protobuf.
set -euo pipefail
cd "$(dirname "$0")/.."
exec /usr/bin/python3 chaos/kill_loop.py "$@"
