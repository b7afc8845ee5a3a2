#!/usr/bin/env bash
# Plants bugs and has the checkers look for them: the matrix bug x checker. See --help.
# Installs what is missing and builds first (build-planted/), unless --build names a build. The work
# is in chaos/matrix/.
set -euo pipefail
cd "$(dirname "$0")/.."

given=false
for argument in "$@"; do
    case $argument in
    --build | --build=* | --help | -h | --list) given=true ;;
    esac
done
if ! $given; then
    . scripts/packages.sh
    install_packages "${packages_build[@]}" "${packages_test[@]}"
    build=build-planted
    configure_build "$build" -Dplanted_fault=any -Doptimization=2
    mapfile -t targets < <(/usr/bin/python3 chaos/matrix/matrix.py --targets "$@")
    ninja -C "$build" "${targets[@]}" >"$build/planted-ninja.log" ||
        { tail -n 30 "$build/planted-ninja.log"; exit 1; }
    set -- --build "$build" "$@"
fi
exec /usr/bin/python3 chaos/matrix/matrix.py "$@"
