#!/usr/bin/env bash
# Kills a node at random moments under load and has the ledger judged: see --help. Installs what is
# missing and builds first (build/), unless --build names a build. The work is in chaos/kill_loop.py.
set -euo pipefail
cd "$(dirname "$0")/.."

given=false
for argument in "$@"; do
    case $argument in
    --build | --build=* | --help | -h) given=true ;;
    esac
done
if ! $given; then
    . scripts/packages.sh
    install_packages "${packages_build[@]}" "${packages_test[@]}"
    configure_build build
    ninja -C build >build/kill-loop-ninja.log || { tail -n 30 build/kill-loop-ninja.log; exit 1; }
fi
exec /usr/bin/python3 chaos/kill_loop.py "$@"
