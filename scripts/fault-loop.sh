#!/usr/bin/env bash
# Strikes two sites and a witness with faults under load and has the ledgers judged: see --help.
# Installs what is missing and builds first (build/, or build-planted/ with --planted), unless
# --build names a build. The work is in chaos/fault_loop.py.
set -euo pipefail
cd "$(dirname "$0")/.."

given=false
planted=none
previous=
for argument in "$@"; do
    case $argument in
    --build | --build=* | --help | -h) given=true ;;
    --planted=*) planted=${argument#*=} ;;
    esac
    [ "$previous" != --planted ] || planted=$argument
    previous=$argument
done
if ! $given; then
    . scripts/packages.sh
    install_packages "${packages_build[@]}" "${packages_test[@]}"
    build=build
    options=()
    if [ "$planted" != none ]; then
        build=build-planted
        options=(-Dplanted_fault=any -Doptimization=2)
    fi
    configure_build "$build" "${options[@]}"
    ninja -C "$build" server/tallyd client/cli/tally chaos/power_loss/powerloss-apply \
        chaos/power_loss/libpowerloss.so >"$build/fault-loop-ninja.log" ||
        { tail -n 30 "$build/fault-loop-ninja.log"; exit 1; }
    set -- --build "$build" "$@"
fi
exec /usr/bin/python3 chaos/fault_loop.py "$@"
