#!/usr/bin/env bash
# Damages a sealed journal segment bit by bit and asks the real journal_verify() each time: every bit of
# a 1 MiB segment (header and padding included), then random bits of a 64 MiB one. Each flip must be
# found, at its record, with index and offset. About ten minutes on two cores; nothing is written to disk.
set -euo pipefail
cd "$(dirname "$0")/.."

random=100000
seed=$((RANDOM * 32768 + RANDOM))
while [ $# -gt 0 ]; do
    case $1 in
    --random) random=${2:?--random needs a number}; shift 2 ;;
    --seed) seed=${2:?--seed needs a number}; shift 2 ;;
    --help)
        echo "usage: scripts/flip-bits.sh [--random COUNT] [--seed N]   (default 100000, drawn)"
        exit 0 ;;
    *) echo "error: unknown option $1 (see --help)" >&2; exit 2 ;;
    esac
done

. scripts/packages.sh
install_packages "${packages_build[@]}" "${packages_test[@]}"
configure_build build-release -Dbuildtype=release
ninja -C build-release tests/storage/flip_all >build-release/ninja.log ||
    { tail -n 20 build-release/ninja.log; exit 1; }
flip=build-release/tests/storage/flip_all

parts=$(nproc)
echo "== every bit of a sealed 1 MiB segment, $parts processes"
children=()
for part in $(seq "$parts"); do
    "$flip" --segment-size 1048576 --part "$part/$parts" &
    children+=($!)
done
status=0
for child in "${children[@]}"; do
    wait "$child" || status=1
done
echo "== $random random bits of a sealed 64 MiB segment, seed $seed"
"$flip" --segment-size 67108864 --payload-max 262144 --random "$random" --seed "$seed" || status=1
[ $status -eq 0 ] && echo "flip-bits: every flip was found" || echo "flip-bits: FAILED"
exit $status
