#!/usr/bin/env bash
# A site is lost: who is there, who serves, what is in doubt, and, where the policy leaves it to
# people, the decision to go on without it.
set -euo pipefail

usage()
{
    cat <<HELP
usage: ops/failover.sh SITE [--reason TEXT] [--since TIME] [--lost-at TIME] [--data DIR]...
                       [--yes] [--dry-run]

SITE is lost. Shows the cluster, the rule about both sites, the requests in doubt and what the
certificate proves. Under policy "operator" it asks, and then goes on without SITE ("tally durability
degrade"); under "auto" the leader has done that by itself, under "never" nobody may. Safe to run
again. Who and where: TALLY_PROFILE, or the other variables of docs/cli.md, with a site operator's
certificate; TALLY names the program (tally).
  --reason TEXT   kept in the log (default: "site SITE is lost")
  --since TIME    shortly before the loss, 2026-11-22T08:00:00Z (default: 15 minutes ago)
  --lost-at TIME  when it was lost, as far as you know: for the certificate's verdict
  --data DIR      a *stopped* survivor's directory: its files are looked at, too
  --yes           do not ask
  --dry-run       change nothing

Exit codes: 0 the cluster serves without SITE, or with it; 1 it does not, and the text says what to
do; 2 usage; 3 refused, nothing was changed; 4 nobody answers.
HELP
}

tally=${TALLY:-tally}
site="" reason="" since="" yes="" dry_run=""
data=()
while [ $# -gt 0 ]; do
    case $1 in
        --help) usage; exit 0 ;;
        --reason | --since | --lost-at | --data)
            [ $# -gt 1 ] || { usage >&2; exit 2; }
            case $1 in
                --reason) reason=$2 ;;
                --since) since=$2 ;;
                --lost-at) data+=(--lost-at "$2") ;;
                --data) data+=(--data "$2") ;;
            esac
            shift ;;
        --yes) yes=yes ;;
        --dry-run) dry_run=yes ;;
        -*) echo "error: unknown option $1 (see --help)" >&2; exit 2 ;;
        *) [ -z "$site" ] || { echo "error: one site only (see --help)" >&2; exit 2; }; site=$1 ;;
    esac
    shift
done
[ -n "$site" ] || { usage >&2; exit 2; }
reason=${reason:-site $site is lost}
since=${since:-$(date -u -d '-15 minutes' +%Y-%m-%dT%H:%M:%SZ)}

echo "== who is there"
"$tally" status || { echo "no node answers: are you at a place that reaches one?" >&2; exit 4; }

echo "== the rule about both sites"
shown=$("$tally" durability show) || exit 4
echo "$shown"
mode=$(awk '$1 == "mode" { print $2 }' <<<"$shown")
policy=$(awk '$1 == "policy" { sub(":", "", $2); print $2 }' <<<"$shown")

code=0
if "$tally" member list | awk -v site="$site" \
    '$2 == site && $3 == "data" && ($0 ~ / up / || $0 ~ / asked /) { up = 1 } END { exit !up }'; then
    echo "a data node of site $site is connected: it is not lost. To leave it: ops/switchover.sh"
elif [[ $mode == DEGRADED* ]]; then
    echo "the cluster serves without a site; what is acknowledged from now on is at one site only"
elif [ "$policy" = never ]; then
    echo "policy never: nothing is acknowledged that is not at both sites, so writes wait for site" \
         "$site. Bring it back; nobody may go on without it"
    code=1
elif [ "$policy" = operator ]; then
    "$tally" durability degrade "$site" --reason "$reason" --dry-run || exit $?
    if [ -n "$dry_run" ]; then
        code=1
    else
        if [ -z "$yes" ]; then
            read -r -p "go on without site $site? What it alone has acknowledged stays there [yes/no] " \
                answer || answer=no
            [ "$answer" = yes ] || { echo "nothing was changed"; exit 1; }
        fi
        "$tally" durability degrade "$site" --reason "$reason"
    fi
else
    echo "policy auto: the leader goes on without site $site after about a second; look again, and at" \
         "\"held up\" above"
    code=1
fi

echo "== requests in doubt since $since"
"$tally" request in-doubt --since "$since" --deadline 3 || true # 4: the lost site says nothing
echo "== what is proven about the loss"
if [[ " ${data[*]-} " == *" --data "* ]]; then
    "$tally" certificate verify --lost-site "$site" "${data[@]}" || true
else
    "$tally" certificate show || true
    echo "with files of stopped survivors: tally certificate verify --lost-site $site --data DIR"
fi
echo "== next: bring site $site back, then ops/failback.sh $site"
exit $code
