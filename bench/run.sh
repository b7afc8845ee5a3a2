#!/usr/bin/env bash
# Measures one node on this machine (or with --topology a cluster: bench/cluster.py), generator and
# node on the same cores: throughput and latency of
# large and of single transfers, restart time, disk and memory. Prints a table with the facts of the
# machine. Everything is durable (each answer after its sync) and over mutual TLS.
set -euo pipefail
cd "$(dirname "$0")/.."

build=build-bench
directory=
transfers=5000000
seconds=15
usage()
{
    cat <<HELP
usage: bench/run.sh [--transfers N] [--seconds N] [--directory DIR] [--build DIR]
       bench/run.sh --topology 1+1+1|2+2+1 [--seconds N] [--at leader|follower] ...

  --transfers N    posted before the restarts are timed (default $transfers)
  --seconds N      length of each timed run (default $seconds)
  --directory DIR  where the node's files go: put it on the disk to be measured (default: a new
                   directory under /var/tmp, which is removed at the end)
  --build DIR      an existing build (default: $build, made here as a release build)
  --topology T     two sites and a witness instead of one node, and CPU per transfer by thread
  --at ROLE        whom its clients ask (default: leader)
HELP
}
topology=()
while [ $# -gt 0 ]; do
    case $1 in
    --topology | --at) topology+=("$1" "$2"); shift 2 ;;
    --help) usage; exit 0 ;;
    --transfers) transfers=$2; shift 2 ;;
    --seconds) seconds=$2; shift 2 ;;
    --directory) directory=$2; shift 2 ;;
    --build) build=$2; shift 2 ;;
    *) echo "error: unknown option $1 (see --help)" >&2; exit 2 ;;
    esac
done

if [ ! -d "$build" ] || [ "$build" = build-bench ]; then
    # shellcheck source=scripts/packages.sh
    . scripts/packages.sh
    install_packages "${packages_build[@]}"
    configure_build "$build" -Dtests=disabled -Dbuildtype=release
fi
mkdir -p "$build"
ninja -C "$build" server/tallyd client/cli/tally bench/tally-bench >"$build/bench-ninja.log" ||
    { tail -n 30 "$build/bench-ninja.log"; exit 1; }
build=$(realpath "$build")
tally=$build/client/cli/tally

if [ ${#topology[@]} -gt 0 ]; then
    exec /usr/bin/python3 bench/cluster.py --build "$build" --seconds "$seconds" \
        ${directory:+--directory "$directory"} "${topology[@]}"
fi

[ -n "$directory" ] && mkdir -p "$directory"
work=$(mktemp -d "${directory:-/var/tmp}/tally-bench-XXXXXX")
pid=
finish()
{
    [ -z "$pid" ] || { kill -9 "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; }
    rm -rf "$work"
}
trap finish EXIT

# ready: does /readyz say 200?
ready()
{
    [ -s "$work/node/data/ports.json" ] || return 1
    local port line
    port=$(sed -n 's/.*"ops": *\([0-9]*\).*/\1/p' "$work/node/data/ports.json" | head -n 1)
    [ -n "$port" ] || return 1
    { exec 3<>"/dev/tcp/127.0.0.1/$port"; } 2>/dev/null || return 1
    printf 'GET /readyz HTTP/1.0\r\n\r\n' >&3
    read -r line <&3 || line=
    exec 3>&-
    [[ $line == *" 200 "* ]]
}

# start: runs the node; then elapsed_ms is the time until it was ready, port where it listens.
start()
{
    rm -f "$work/node/data/ports.json"
    local begin
    begin=$(date +%s%N)
    "$build/server/tallyd" --config "$work/node/tallyd.yaml" >>"$work/tallyd.log" 2>&1 &
    pid=$!
    for _ in $(seq 12000); do
        if ready; then
            elapsed_ms=$((($(date +%s%N) - begin) / 1000000))
            port=$(sed -n 's/.*"grpc": *\([0-9]*\).*/\1/p' "$work/node/data/ports.json" | head -n 1)
            return 0
        fi
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.005
    done
    tail -n 20 "$work/tallyd.log" >&2
    echo "error: the node did not become ready" >&2
    exit 1
}

stop()
{
    kill "-$1" "$pid"
    wait "$pid" 2>/dev/null || true
    pid=
}

bench()
{
    local role=$1
    shift
    "$build/bench/tally-bench" --servers 127.0.0.1:"$port" --ca "$work/pki/ca.pem" \
        --certificate "$work/pki/$role.pem" --key "$work/pki/$role.key" "$@"
}

value()
{
    sed -n "s/.*\"$2\": *\([0-9.]*\).*/\1/p" "$work/$1.json" | head -n 1
}

# row NAME JSON: one line of the table.
row()
{
    printf '%-34s %12.0f %12.0f %9.2f %9.2f %9.2f %9.2f %9.2f\n' "$1" \
        "$(value "$2" transfers_per_s)" "$(value "$2" requests_per_s)" \
        "$(ms "$2" p50)" "$(ms "$2" p90)" "$(ms "$2" p99)" "$(ms "$2" 'p99\.9')" "$(ms "$2" max)"
}
ms()
{
    awk -v us="$(value "$1" "$2")" 'BEGIN { print us / 1000 }'
}
memory_mib()
{
    awk -v name="$1" '$1 == name ":" { printf "%.0f", $2 / 1024 }' "/proc/$pid/status"
}

"$tally" pki init "$work/pki" >/dev/null 2>&1
root=()
[ "$(id -u)" -ne 0 ] || root=(--allow-root)
"$tally" node init "$work/node" --pki "$work/pki" --listen 127.0.0.1:0 --ops 127.0.0.1:0 \
    "${root[@]}" >/dev/null 2>&1
start

echo "== measuring, about $((seconds * 4 + 30)) s and the time of $transfers transfers"
bench business_operator prepare --accounts 10000
empty_mib=$(memory_mib VmRSS)
bench channel run --batch 1 --connections 1 --in-flight 1 --duration "$seconds" \
    --json "$work/single.json" >"$work/text"
bench channel run --batch 1 --connections 4 --in-flight 64 --duration "$seconds" \
    --json "$work/many.json" >>"$work/text"
bench channel run --batch 8190 --connections 1 --in-flight 1 --duration "$seconds" \
    --json "$work/batch.json" >>"$work/text"
bench channel run --batch 8190 --connections 2 --in-flight 4 --duration "$seconds" \
    --json "$work/full.json" >>"$work/text"
posted=$(awk '{ sum += $1 } END { print sum }' <(for run in single many batch full; do
    value $run transfers_posted; done))
if [ "$posted" -lt "$transfers" ]; then
    bench channel run --batch 8190 --count $((transfers - posted)) --json "$work/fill.json" \
        >>"$work/text"
    posted=$((posted + $(value fill transfers_posted)))
fi
full_mib=$(memory_mib VmRSS)
peak_mib=$(memory_mib VmHWM)

stop KILL
start
killed_ms=$elapsed_ms
after_mib=$(memory_mib VmRSS)
stop TERM
disk_bytes=$(du -s -B1 "$work/node/data" | cut -f1)
journal_bytes=$(du -s -B1 "$work/node/data/journal-1" | cut -f1)
store_bytes=$(du -s -B1 "$work/node/data/store-1" | cut -f1)
start
clean_ms=$elapsed_ms
stop TERM

echo "== machine"
echo "$(lscpu | sed -n 's/^Model name: *//p' | head -n 1), $(nproc) cores," \
    "$(awk '/MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo), Linux $(uname -r)"
# As the journal does it: over blocks that are already written.
dd if=/dev/zero of="$work/probe" bs=4k count=200 conv=fsync 2>/dev/null
echo "files on $(df --output=fstype "$work" | tail -n 1); one 4 KiB write and sync:" \
    "$(dd if=/dev/zero of="$work/probe" bs=4k count=200 conv=notrunc oflag=dsync 2>&1 |
        awk '/copied/ { for (i = 1; i <= NF; i++) if ($i == "s,") printf "%.2f ms", $(i - 1) * 5 }')"
echo "commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown)," \
    "$(cc --version | head -n 1); node and generator share the cores"
echo
echo "== load: durable answers over mutual TLS, closed loop, latency of a request in ms"
printf '%-34s %12s %12s %9s %9s %9s %9s %9s\n' run transfers/s requests/s p50 p90 p99 p99.9 max
row "batch 1, 1 in flight" single
row "batch 1, 4 x 64 in flight" many
row "batch 8190, 1 in flight" batch
row "batch 8190, 2 x 4 in flight" full
echo
echo "== after $posted transfers"
printf '%-52s %10s ms\n' "ready again after kill -9" "$killed_ms" \
    "ready again after SIGTERM" "$clean_ms"
printf '%-52s %10s B\n' \
    "disk per transfer, journal kept and store (allocated)" $((disk_bytes / posted)) \
    "  of it store" $((store_bytes / posted)) "  of it journal" $((journal_bytes / posted)) \
    "  of it the reserve and the rest" $(((disk_bytes - store_bytes - journal_bytes) / posted))
printf '%-52s %10s MiB\n' "memory (VmRSS) with 10000 accounts, before the load" "$empty_mib" \
    "memory after the load" "$full_mib" "its peak (VmHWM)" "$peak_mib" \
    "memory after the restart" "$after_mib"
if grep -q FAILED "$work/text"; then
    echo "error: some requests failed:" >&2
    grep -A2 FAILED "$work/text" >&2
    exit 1
fi
