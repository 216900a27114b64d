# What the cluster consists of, where it listens and where it keeps its state. Read by the commands beside it.
# shellcheck shell=bash disable=SC2034 # What is set here is used by those who read it.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)
state=${HEADCOUNT_LOCAL_DIR:-$here/state}

regions=(a b)
gateways=(g1 g2)
counters=(c1 c2)
redis_nodes=(redis-1 redis-2 redis-3)

default_base_port=20000
# From base + 0, where Prometheus is, to base + 261.
last_port=261

# Each thing of a region by its distance from base + 100 for region a, base + 200 for region b.
declare -A offsets=(
    [g1.client]=0 [g2.client]=1
    [c1.resp]=10 [c2.resp]=11
    [g1.admin]=20 [g2.admin]=21 [c1.admin]=22 [c2.admin]=23
    # Peer listeners, and where the other region reaches each of them: through the link.
    [c1.peer]=30 [c2.peer]=31 [g1.peer]=32 [g2.peer]=33
    [c1.link]=40 [c2.link]=41 [g1.link]=42 [g2.link]=43
    [redis-1]=50 [redis-2]=51 [redis-3]=52
    [etcd.client]=60 [etcd.peer]=61
)
# Nodes that listen for peers: each has a way through the link.
linked=("${counters[@]}" "${gateways[@]}")

# From so much silence on a counter node calls a region silent, and a gateway calls what it knows of it stale.
silent_s=3

# port REGION WHAT, such as `port a g1.client`; `port prometheus`.
port() {
    case $1 in
    prometheus) echo "$base_port" ;;
    a) echo $((base_port + 100 + offsets[$2])) ;;
    b) echo $((base_port + 200 + offsets[$2])) ;;
    esac
}

# Every process of the cluster, as it is named in run/ and log/.
process_names() {
    local region
    for region in "${regions[@]}"; do
        printf "$region-%s\n" "${gateways[@]}" "${counters[@]}" "${redis_nodes[@]}" etcd
    done
    printf 'link-to-%s\n' "${regions[@]}"
    echo prometheus
}

other() { if [[ $1 == a ]]; then echo b; else echo a; fi; }

fail() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# For a command line that cannot be meant.
misused() {
    printf '%s: %s; see --help\n' "$(basename "$0")" "$*" >&2
    exit 64
}

# A path as one writes it from where one stands.
shown() {
    local path
    path=$(realpath --no-symlinks --relative-base="$PWD" "$1")
    [[ $path == */* ]] || path=./$path
    echo "$path"
}

# Ports as they were when the state was made, if there is one.
recorded_base_port() { cat "$state/base-port" 2>/dev/null; }

# Of a cluster that was started: for commands that look at it or change it.
need_state() {
    base_port=$(recorded_base_port) || fail "there is nothing in $state: start it with $(shown "$here/up")"
}

# One command at a time may change things. Those that are started do not get the descriptor, or they would hold the lock.
take_turn() {
    exec 9>"$state/lock"
    flock --nonblock 9 || fail "another command works on $state: wait for its end"
}
