#!/usr/bin/env bash
# A cluster at half of its capacity for 20 minutes; nothing may grow but what is kept for each
# transfer: see --help. Installs what is missing and makes a release build first (build-bench/),
# unless --build names a build. The work is in bench/soak.py.
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
    configure_build build-bench -Dtests=disabled -Dbuildtype=release
    ninja -C build-bench server/tallyd client/cli/tally bench/tally-bench >build-bench/ninja.log ||
        { tail -n 30 build-bench/ninja.log; exit 1; }
fi
exec /usr/bin/python3 bench/soak.py "$@"
