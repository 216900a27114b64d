# How processes and the link are, as they say themselves.
# shellcheck shell=bash disable=SC2154 # What is not set here is from layout.bash.

# How long an answer may take.
answer_s=2

# fetch PORT PATH [ARGUMENT...]: the body, also of an answer that is an error; fails without an answer.
fetch() { curl --silent --max-time "$answer_s" "http://127.0.0.1:$1$2" "${@:3}"; }

# trouble_of NAME: nothing if it is ready, else what is wrong.
trouble_of() {
    local name=$1 region=${1%%-*} what=${1#*-} answer
    if ! pid_of "$name" >/dev/null; then
        echo 'it does not run'
        return
    fi
    case $name in
    link-*) [[ $(cat "$state/links/$what.now" 2>/dev/null) == "$(cat "$state/links/$what")" ]] || echo 'it has not done yet what it was told' ;;
    prometheus) [[ $(fetch "$(port prometheus)" /-/ready) == *Ready* ]] || echo 'it does not answer that it is ready' ;;
    ?-etcd) [[ $(fetch "$(port "$region" etcd.client)" /health) == *true* ]] || echo 'it does not answer that it is healthy' ;;
    ?-redis-*) [[ $(ping_redis "$(port "$region" "$what")") == PONG ]] || echo 'it does not answer PING' ;;
    *)
        answer=$(fetch "$(port "$region" "$what.admin")" /readyz) || answer='{"status":"/readyz does not answer"}'
        jq --raw-output 'select(.status != "ready") | [.status, (.checks // {} | to_entries[] | select(.value.why) | "\(.key): \(.value.why)")] | join("; ")' <<<"$answer"
        ;;
    esac
}

ping_redis() {
    local password
    password=$(sed -n 's/^redis_password=//p' "$state/secrets")
    # Not as an argument, where everybody can see it.
    REDISCLI_AUTH=$password timeout "$answer_s" redis-cli -p "$1" PING 2>/dev/null
}

# silences REGION: for each counter node of the region and each one of the other, seconds since the first heard of the latter.
silences() {
    local node answer far
    far=$(other "$1")
    for node in "${counters[@]}"; do
        answer=$(fetch "$(port "$1" "$node.admin")" /metrics) || continue
        sed -n "s|^headcount_counter_replica_silence_seconds{.*member=\"$far/.*} ||p" <<<"$answer"
    done
}

# link_state REGION: whether it hears the other region: up, partly, silent.
link_state() {
    local heard all
    all=$(silences "$1")
    heard=$(awk -v most="$silent_s" '$1 < most' <<<"$all" | grep --count .) || true
    if ((heard == ${#counters[@]} * ${#counters[@]})); then
        echo up
    elif ((heard > 0)); then
        echo partly
    else
        echo silent
    fi
}

# sight REGION GATEWAY: how the gateway knows the other region, as JSON; fails if it does not answer.
sight() {
    fetch "$(port "$1" "$2.client")" /v1/regions --fail --config "$state/service.curl" |
        jq --exit-status --compact-output --arg far "$(other "$1")" '.regions[] | select(.name == $far)'
}

# link_trouble REGION: nothing if all its counter nodes and gateways hear the other region, else what is wrong.
link_trouble() {
    local region=$1 gateway counters_hear
    counters_hear=$(link_state "$region")
    [[ $counters_hear == up ]] || echo "counter nodes: $counters_hear"
    for gateway in "${gateways[@]}"; do
        sight "$region" "$gateway" | jq --raw-output --arg gateway "$gateway" '.trouble // empty | "\($gateway): \(.)"' || echo "$gateway: no answer"
    done
}
