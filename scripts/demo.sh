#!/usr/bin/env bash
# The main job, told on a terminal: one ledger at two sites with a witness, written from both sites at
# once, and the leader's whole site killed in the middle. Needs Debian 12 or 13 and root or sudo (for
# packages). Safe to run again: it stops the nodes of an earlier run and starts from empty directories.
set -euo pipefail
cd "$(dirname "$0")/.."

data=demo-data
nodes="a b witness"
if [ "${1:-}" = --help ]; then
    cat <<HELP
usage: scripts/demo.sh [--stop]

Builds Tallystick, runs site A, site B and a witness on this machine (files in $data/, ports 7400 to
7422 of 127.0.0.1), imports 2 x 50 000 transfers from both sites at once, and kills the leader's site
in the middle of it.
  --stop   stop the nodes that an earlier run left running, and do nothing else
HELP
    exit 0
fi

# is_ours NAME: whether the process of that node's pid file is its tallyd.
is_ours()
{
    local pid
    [ -f "$data/$1.pid" ] || return 1
    pid=$(cat "$data/$1.pid")
    [ -r "/proc/$pid/cmdline" ] && tr '\0' ' ' <"/proc/$pid/cmdline" | grep -q "tallyd.*$data/$1/"
}

# stop_nodes: ends the nodes of this directory, and only those.
stop_nodes()
{
    local name
    for name in $nodes; do
        if is_ours "$name"; then
            echo "== stopping $name (process $(cat "$data/$name.pid"))"
            kill -TERM "$(cat "$data/$name.pid")"
        fi
    done
    for name in $nodes; do
        for _ in $(seq 150); do
            is_ours "$name" || break
            sleep 0.1
        done
        if is_ours "$name"; then
            echo "error: process $(cat "$data/$name.pid") did not stop within 15 s; see $data/$name.log" >&2
            exit 1
        fi
        rm -f "$data/$name.pid"
    done
}

if [ "${1:-}" = --stop ]; then
    stop_nodes
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
stop_nodes
rm -rf "$data"
mkdir "$data"

# run COMMAND...: shows a command, then runs it.
run()
{
    local word
    printf '\n$'
    for word in "$@"; do
        if [[ $word =~ ^[A-Za-z0-9_.,:/=-]+$ ]]; then
            printf ' %s' "$word"
        else
            printf ' %q' "$word"
        fi
    done
    echo
    "$@"
}

# Every user of the demo is a certificate; a profile file names it, and the nodes of both sites.
profiles=$data/pki
site_a=127.0.0.1:7400
site_b=127.0.0.1:7410
server_a() { echo "$site_a,$site_b"; } # what a client at site A asks: its own node first
server_b() { echo "$site_b,$site_a"; }

port_of()
{
    case $1 in
    a) echo 740 ;;
    b) echo 741 ;;
    witness) echo 742 ;;
    esac
}

# status_field NAME KEY...: a value of that node's /status; empty when it does not answer.
status_field()
{
    local port
    port=$(port_of "$1")1
    shift
    python3 - "$port" "$@" <<'PYTHON'
import json, sys, urllib.request
try:
    with urllib.request.urlopen("http://127.0.0.1:%s/status" % sys.argv[1], timeout=2) as answer:
        value = json.load(answer)
    for key in sys.argv[2:]:
        value = value[key]
    print(value)
except (OSError, ValueError, KeyError):
    print("")
PYTHON
}

start_node()
{
    tallyd --config "$data/$1/tallyd.yaml" >>"$data/$1.log" 2>&1 &
    echo $! >"$data/$1.pid"
    disown
}

# until_true SECONDS WHAT COMMAND...: waits, bounded.
until_true()
{
    local seconds=$1 what=$2 end
    shift 2
    end=$((SECONDS + seconds))
    until "$@"; do
        if [ $SECONDS -ge $end ]; then
            tail -n 8 $data/*.log >&2
            echo "error: $what: not within $seconds s; the nodes' logs are $data/*.log" >&2
            exit 1
        fi
        sleep 0.05
    done
}
is_up() { [ -n "$(status_field "$1" role)" ]; }
is_ready() { [ "$(status_field "$1" ready)" = True ]; }
leads() { [ "$(status_field "$1" role)" = leader ] && is_ready "$1"; }
somebody_leads() { leads a || leads b; }

# Run as root only for the demo; a real node names a user with --user (see docs/operations-node.md).
as_root=()
[ "$(id -u)" -ne 0 ] || as_root=(--allow-root)

# init_node NAME NODE_ID SITE [OPTION...]
init_node()
{
    local name=$1 id=$2 site=$3 port
    port=$(port_of "$1")
    shift 3
    run tally node init "$data/$name" --pki "$profiles" --node-id "$id" --site "$site" \
        --listen "127.0.0.1:${port}0" --ops "127.0.0.1:${port}1" \
        --peer-address "127.0.0.1:${port}2" "${as_root[@]}" "$@"
    echo "\$ tallyd --config $data/$name/tallyd.yaml &"
    start_node "$name"
}

printf '\n== 1. Certificates: one per node, one per role\n'
run tally pki init "$profiles" --nodes 3 --server "$site_a,$site_b"

printf '\n== 2. Site A begins, site B and a witness at a third place join\n'
init_node a 1 A
until_true 30 "site A serves" leads a
cluster=$(status_field a cluster)
init_node b 2 B --join --cluster-id "$cluster"
init_node witness 3 C --join --cluster-id "$cluster" --kind witness
for name in b witness; do
    until_true 30 "$name runs" is_up "$name"
    run tally --profile "$profiles/site_operator.profile" member add \
        --member-file "$data/$name/data/member"
done
until_true 30 "site B serves" is_ready b
run tally --profile "$profiles/auditor.profile" status

printf '\n== 3. A ledger, and for each site accounts and 50 000 transfers, some of them wrong on purpose\n'
run tally --profile "$profiles/business_operator.profile" ledger create --id 1 --currency EUR \
    --exponent 2 --name "Retail euro"
echo
echo "   (some wrong rows name another ledger than their accounts', so there is one)"
run tally --profile "$profiles/business_operator.profile" ledger create --id 2 --currency JPY \
    --exponent 0 --name "Yen"
for site in a b; do
    seed=7
    [ $site = a ] || seed=8
    python3 examples/generate.py --seed $seed --transfers 50000 --out "$data/site-$site" >/dev/null
    run tally --profile "$profiles/business_operator.profile" --server "$(server_$site)" \
        account create --file "$data/site-$site/accounts.csv"
done

printf '\n== 4. Import from both sites at once, and the leader'\''s whole site is killed in the middle\n'
imports=()
for site in a b; do
    echo "\$ tally --server $(server_$site) transfer import $data/site-$site/transfers.csv --batch 20 --in-flight 1 &"
    tally --profile "$profiles/channel.profile" --server "$(server_$site)" \
        transfer import "$data/site-$site/transfers.csv" --batch 20 --in-flight 1 --deadline 60 \
        --rejects "$data/site-$site/rejected.csv" >"$data/site-$site/import.txt" \
        2>"$data/site-$site/import.log" &
    imports+=($!)
done
echo "   (small steps, one after another, so that there is a middle)"

half_done()
{
    local count
    count=$(status_field b count transfers)
    [ "${count:-0}" -ge 40000 ]
}
until_true 300 "the middle of the imports" half_done
leader=a
other=b
if leads b; then leader=b other=a; fi
term=$(status_field $leader term)
echo
echo "   both sites hold about $(status_field b count transfers) transfers; site ${leader^^} leads, term $term"
echo "   kill -9 $(cat $data/$leader.pid): that is all of site ${leader^^}"
kill -9 "$(cat $data/$leader.pid)"
until_true 30 "site ${other^^} leads" leads $other
echo "   site ${other^^} leads, term $(status_field $other term); both imports go on there:"
echo "   what had no answer was repeated under the same identity"

for number in 0 1; do
    site=a
    [ $number = 0 ] || site=b
    status=0
    wait "${imports[$number]}" || status=$?
    echo
    echo "-- the import of site ${site^^}"
    cat "$data/site-$site/import.txt"
    if [ $status -gt 1 ]; then
        tail -n 5 "$data/site-$site/import.log" >&2
        echo "error: the import of site ${site^^} ended with status $status" >&2
        exit 1
    fi
    python3 examples/compare.py "$data/site-$site/expected.json" "$data/site-$site/import.txt" \
        "$data/site-$site/rejected.csv"
done
wait_of() { sed -n 's/^longest wait *\([0-9]*\) ms.*/\1/p' "$data/site-$1/import.txt"; }
echo
echo "the pause that clients saw: site A $(wait_of a) ms, site B $(wait_of b) ms (their longest request)"

printf '\n== 5. Site %s comes back\n' "${leader^^}"
echo "\$ tallyd --config $data/$leader/tallyd.yaml &"
start_node $leader
at_rest()
{
    local name index
    index=$(status_field $other index commit)
    for name in $nodes; do
        is_ready "$name" && [ "$(status_field "$name" index commit)" = "$index" ] || return 1
        [ "$name" = witness ] || [ "$(status_field "$name" index applied)" = "$index" ] || return 1
    done
}
until_true 60 "all nodes stand at the same index" at_rest
run tally --profile "$profiles/auditor.profile" --server "$(server_$other)" status

printf '\n== 6. Both sites, side by side\n'
# told NAME FILE: trial balance with digest as that node gives it, and the head of its journal's chain.
told()
{
    local server=$site_a
    [ "$1" = a ] || server=$site_b
    {
        echo "SITE ${1^^}"
        tally --profile "$profiles/auditor.profile" --server "$server" --json trial-balance --ledger 1 |
            python3 -c '
import json, sys
it = json.load(sys.stdin)
for row in it["rows"]:
    print("code %-5s %6s accounts" % (row["code"], row["account_count"]))
    for side in ("debits_posted", "credits_posted"):
        print("  %-15s %16s" % (side.replace("_", " "), row[side]["amount"]))
print("all accounts")
for side in ("debits_posted", "credits_posted"):
    print("  %-15s %16s" % (side.replace("_", " "), it[side]["amount"]))
print("balanced   %s" % ("yes" if it["balanced"] else "NO"))
print("index      %s" % it["index"])
print("digest     %s" % it["digest"])'
        echo "chain head $(status_field "$1" journal head)"
    } >"$2"
}
same=false
for _ in 1 2 3 4 5; do
    told a "$data/told-a.txt"
    told b "$data/told-b.txt"
    if cmp -s <(tail -n +2 "$data/told-a.txt") <(tail -n +2 "$data/told-b.txt"); then
        same=true
        break
    fi
    sleep 1 # an entry came in between
done
pr -m -t -w 160 "$data/told-a.txt" "$data/told-b.txt" | expand
if ! $same; then
    echo "error: the sites differ" >&2
    exit 1
fi
echo
echo "both sites: the same, line by line. The witness, which holds no ledger, has the same chain:"
echo "chain head $(status_field witness journal head)"
if [ "$(status_field witness journal head)" != "$(status_field b journal head)" ]; then
    echo "error: the witness has another chain" >&2
    exit 1
fi

printf '\n== 7. Each journal, walked from outside: checksums, indexes, chain\n'
for name in $nodes; do
    run tally journal verify "$data/$name/data"
done

cat <<NEXT

The nodes are still running. To try next:
  export PATH=\$PWD/build-demo/server:\$PWD/build-demo/client/cli:\$PATH
  tally --profile $profiles/auditor.profile status
  tally --profile $profiles/site_operator.profile member list
  tally --profile $profiles/site_operator.profile leader transfer
  kill -9 \$(cat $data/b.pid); tally --profile $profiles/auditor.profile status
  tally --help
Probes and metrics:  http://127.0.0.1:7401/readyz  /livez  /metrics  /status  (site B: 7411, witness: 7421)
To stop them:        scripts/demo.sh --stop
NEXT
