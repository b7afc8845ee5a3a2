#!/usr/bin/env bash
# The main job, told on a terminal: one node, from a CSV of transfers to verified balances, with a
# kill -9 in the middle. Needs Debian 12 or 13 and root or sudo (for packages). Safe to run again: it
# stops the node of an earlier run and starts from an empty directory.
set -euo pipefail
cd "$(dirname "$0")/.."

data=demo-data
if [ "${1:-}" = --help ]; then
    cat <<HELP
usage: scripts/demo.sh [--stop]

Builds Tallystick, runs one node in $data/ and imports 100 000 transfers through a crash.
  --stop   stop the node that an earlier run left running, and do nothing else
HELP
    exit 0
fi

# stop_node: ends the node of this directory, and only that one.
stop_node()
{
    local pid
    [ -f "$data/tallyd.pid" ] || return 0
    pid=$(cat "$data/tallyd.pid")
    if [ -r "/proc/$pid/cmdline" ] && tr '\0' ' ' <"/proc/$pid/cmdline" | grep -q "tallyd.*$data"; then
        echo "== stopping the node of an earlier run (process $pid)"
        kill -TERM "$pid"
        for _ in $(seq 100); do
            [ -d "/proc/$pid" ] || break
            sleep 0.1
        done
        if [ -d "/proc/$pid" ]; then
            echo "error: process $pid did not stop within 10 s; see $data/tallyd.log" >&2
            exit 1
        fi
    fi
    rm -f "$data/tallyd.pid"
}

if [ "${1:-}" = --stop ]; then
    stop_node
    exit 0
elif [ $# -gt 0 ]; then
    echo "error: unknown option $1 (see --help)" >&2
    exit 2
fi

. scripts/packages.sh
install_packages "${packages_build[@]}" "${packages_demo[@]}"
echo "== building (build-demo/)"
configure_build build-demo -Dtests=disabled -Dbuildtype=release
ninja -C build-demo server/tallyd client/cli/tally >build-demo/ninja.log ||
    { tail -n 30 build-demo/ninja.log; exit 1; }

export PATH=$PWD/build-demo/server:$PWD/build-demo/client/cli:$PATH
stop_node
rm -rf "$data"
mkdir "$data"

# run COMMAND...: shows a command, then runs it.
run()
{
    printf '\n$'
    printf ' %q' "$@"
    echo
    "$@"
}

# Every user of the demo is a certificate; a profile file names it and the server.
operator=(tally --profile $data/pki/business_operator.profile)
channel=(tally --profile $data/pki/channel.profile)
auditor=(tally --profile $data/pki/auditor.profile)

start_node()
{
    tallyd --config $data/node-1/tallyd.yaml >>$data/tallyd.log 2>&1 &
    echo $! >$data/tallyd.pid
    for _ in $(seq 300); do
        "${auditor[@]}" status >/dev/null 2>&1 && return 0
        kill -0 "$(cat $data/tallyd.pid)" 2>/dev/null || break
        sleep 0.1
    done
    tail -n 20 $data/tallyd.log >&2
    echo "error: the node did not become ready; its log is $data/tallyd.log" >&2
    exit 1
}

printf '\n== 1. Certificates, one per role, and a data directory\n'
run tally pki init $data/pki
# Run as root only for the demo; a real node names a user with --user (see docs/operations-node.md).
as_root=()
[ "$(id -u)" -ne 0 ] || as_root=(--allow-root)
run tally node init $data/node-1 --pki $data/pki "${as_root[@]}"

printf '\n== 2. A node\n'
echo "\$ tallyd --config $data/node-1/tallyd.yaml &"
start_node
run "${auditor[@]}" status

printf '\n== 3. A ledger, accounts, and a file of 100 000 transfers, some of them wrong on purpose\n'
run python3 examples/generate.py --seed 7 --transfers 100000 --out $data
run "${operator[@]}" ledger create --id 1 --currency EUR --exponent 2 --name "Retail euro"
echo
echo "   (some wrong rows name another ledger than their accounts', so there is one)"
run "${operator[@]}" ledger create --id 2 --currency JPY --exponent 0 --name "Yen"
run "${operator[@]}" account create --file $data/accounts.csv

printf '\n== 4. Import, and kill -9 in the middle\n'
echo "\$ tally transfer import $data/transfers.csv --batch 20 --in-flight 1 &   (small steps, so that there is a middle)"
"${channel[@]}" transfer import $data/transfers.csv --batch 20 --in-flight 1 --deadline 60 \
    --rejects $data/rejected-1.csv >$data/import-1.txt 2>$data/import-1.log &
import=$!
transfers=0
while [ "$transfers" -lt 30000 ] && kill -0 $import 2>/dev/null; do
    transfers=$("${auditor[@]}" --json status | sed -n 's/^ *"transfers": *\([0-9]*\).*/\1/p' | head -n 1)
done
pid=$(cat $data/tallyd.pid)
echo "   the node holds $transfers transfers; kill -9 $pid"
kill -9 "$pid"
wait "$pid" 2>/dev/null || true
sleep 0.5
echo "   starting it again: it replays its journal, and the import, still running, repeats what was"
echo "   unanswered under the same identities"
start_node
status=0
wait $import || status=$?
cat $data/import-1.txt
if [ $status -gt 1 ]; then
    tail -n 5 $data/import-1.log >&2
    echo "error: the import ended with status $status" >&2
    exit 1
fi
python3 examples/compare.py $data/expected.json $data/import-1.txt $data/rejected-1.csv

printf '\n== 5. The same file again: nothing changes\n'
# balances FILE: the accounts' sums, without index, time and digest (which count requests, too).
balances()
{
    "${auditor[@]}" --json trial-balance --ledger 1 | grep -E '"(code|account_count|amount)"' >"$1"
}
balances $data/balances-1.txt
status=0
run "${channel[@]}" transfer import $data/transfers.csv --rejects $data/rejected-2.csv \
    >$data/import-2.txt || status=$?
cat $data/import-2.txt
[ $status -le 1 ] || exit 1
python3 examples/compare.py $data/expected.json $data/import-2.txt $data/rejected-2.csv --again
balances $data/balances-2.txt
cmp $data/balances-1.txt $data/balances-2.txt
echo "balances before and after the second import: identical"

printf '\n== 6. What the ledger holds\n'
run "${auditor[@]}" trial-balance --ledger 1
echo
echo "rejected rows: $(($(wc -l <$data/rejected-1.csv) - 1)), in $data/rejected-1.csv; by reason, and the first ten:"
cut -d, -f2 $data/rejected-1.csv | tail -n +2 | sort | uniq -c | sort -rn
head -n 11 $data/rejected-1.csv | cut -c 1-150

printf '\n== 7. The journal, walked from outside: checksums, indexes, chain\n'
cp -r $data/node-1/data/journal-1 $data/journal-copy
run tally journal verify $data/journal-copy
rm -rf $data/journal-copy

cat <<NEXT

The node is still running (process $(cat $data/tallyd.pid)). To try next:
  export PATH=\$PWD/build-demo/server:\$PWD/build-demo/client/cli:\$PATH
  tally --profile $data/pki/auditor.profile status
  tally --profile $data/pki/auditor.profile account list --ledger 1
  tally --profile $data/pki/auditor.profile --json transfer list | head
  tally --help
Probes and metrics:  http://127.0.0.1:7401/readyz  /livez  /metrics  /status
To stop it:          scripts/demo.sh --stop
NEXT
