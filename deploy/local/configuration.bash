# What every process is told: secrets that are made once, and the files that are written from them and from the ports at each
# start. All of them are for their owner's eyes only.
# shellcheck shell=bash disable=SC2154 # What is not set here is from layout.bash.

# 256 bits, as text that needs no quoting anywhere.
random_secret() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }

# Sets token_secret (signs tokens), api_key (of services), peer_key (of counter nodes and gateways) and redis_password.
open_secrets() {
    local name
    if [[ ! -e $state/secrets ]]; then
        for name in token_secret api_key peer_key redis_password; do
            echo "$name=$(random_secret)"
        done >"$state/secrets.new"
        mv "$state/secrets.new" "$state/secrets"
    fi
    # shellcheck source=/dev/null
    source "$state/secrets"
    # So that the key is on no command line.
    cat >"$state/service.curl" <<END
# For \`curl -K\`: what a service sends along, and each answer on a line of its own.
silent
show-error
header = "X-API-Key: $api_key"
header = "Content-Type: application/json"
write-out = "\n"
END
}

# addresses PREFIX REGION KIND NODE...: as TOML strings with commas, each behind the prefix: "127.0.0.1:20130","127.0.0.1:20131".
addresses() {
    local prefix=$1 region=$2 kind=$3 node list=()
    shift 3
    for node in "$@"; do list+=("\"${prefix}127.0.0.1:$(port "$region" "$node.$kind")\""); done
    local IFS=,
    echo "${list[*]}"
}

# What all nodes of a region share.
node_part() {
    local region=$1 node=$2 roles=$3
    cat <<END
[node]
name = "$node"
region = "$region"
roles = [$roles]
data_dir = "$state/$region/$node"
[auth]
hmac_secrets = ["$token_secret"]
api_keys = ["$api_key"]
[shutdown]
drain_s = 5
END
}

# Clients, and the ring: one of the gateways is elected to change it. Each follows the gateways of the other region.
gateway_configuration() {
    local region=$1 node=$2 far
    far=$(other "$region")
    node_part "$region" "$node" '"gateway", "coordinator"'
    cat <<END
[listen]
client = "127.0.0.1:$(port "$region" "$node.client")"
admin = "127.0.0.1:$(port "$region" "$node.admin")"
resp = ""
peer = "127.0.0.1:$(port "$region" "$node.peer")"
# Channels without a namespace, such as the demo page's, are the same in both regions; kept for an hour, so that a link may be cut for
# as long as one likes to look.
[namespace_default]
global = true
history_ttl_s = 3600
[regions]
peers = [$(addresses "$far=" "$far" link "${gateways[@]}")]
# As soon as for counters, so that one sees it. Gone late enough to look around before.
stale_s = $silent_s
gone_s = 300
[counter]
cluster = "headcount-local"
key = "$peer_key"
seeds = [$(addresses '' "$region" peer "${counters[@]}")]
[etcd]
endpoints = ["http://127.0.0.1:$(port "$region" etcd.client)"]
[redis]
password = "$redis_password"
END
}

# The counters. They stand in no etcd and tell nobody an address of theirs: an address is learned by nodes of both regions, and
# those of the other one would go by it around the link. So all know each other by their seeds.
counter_configuration() {
    local region=$1 node=$2
    node_part "$region" "$node" '"counter"'
    cat <<END
[listen]
client = ""
admin = "127.0.0.1:$(port "$region" "$node.admin")"
resp = "127.0.0.1:$(port "$region" "$node.resp")"
peer = "127.0.0.1:$(port "$region" "$node.peer")"
[counter]
cluster = "headcount-local"
key = "$peer_key"
# Those of this region, and the other region's through the link.
seeds = [$(addresses '' "$region" peer "${counters[@]}"), $(addresses '' "$(other "$region")" link "${counters[@]}")]
# Where nobody listens.
address = "127.0.0.1:9"
END
}

# Without a file: what Redis nodes hold is gone with them, and gateways write it anew.
redis_configuration() {
    local region=$1 node=$2
    cat <<END
bind 127.0.0.1
port $(port "$region" "$node")
dir "$state/$region/$node"
requirepass $redis_password
save ""
appendonly no
END
}

# As `headcount ring apply` reads it.
ring_layout() {
    local region=$1 node list=()
    for node in "${redis_nodes[@]}"; do list+=("{\"id\":\"$node\",\"url\":\"redis://127.0.0.1:$(port "$region" "$node")\"}"); done
    local IFS=,
    echo "{\"nodes\":[${list[*]}]}"
}

# The alerts compare epochs and leaders within a job, so each region is one.
prometheus_configuration() {
    local region node
    cat <<END
global: { scrape_interval: 5s, evaluation_interval: 5s }
rule_files: ["$repository/deploy/prometheus/headcount.rules.yml"]
scrape_configs:
  - job_name: prometheus
    static_configs: [{ targets: ["127.0.0.1:$(port prometheus)"] }]
END
    for region in "${regions[@]}"; do
        printf '  - job_name: %s\n    static_configs:\n' "$region"
        for node in "${gateways[@]}" "${counters[@]}"; do
            echo "      - { targets: [\"127.0.0.1:$(port "$region" "$node.admin")\"], labels: { instance: $region/$node } }"
        done
        printf '  - job_name: %s-etcd\n    static_configs:\n' "$region"
        echo "      - { targets: [\"127.0.0.1:$(port "$region" etcd.client)\"], labels: { instance: $region/etcd } }"
    done
}

write_configuration() {
    local region node
    for region in "${regions[@]}"; do
        mkdir -p "$state/$region/etcd"
        for node in "${gateways[@]}"; do gateway_configuration "$region" "$node" >"$state/$region/$node.toml"; done
        for node in "${counters[@]}"; do counter_configuration "$region" "$node" >"$state/$region/$node.toml"; done
        for node in "${redis_nodes[@]}"; do
            mkdir -p "$state/$region/$node"
            redis_configuration "$region" "$node" >"$state/$region/$node.conf"
        done
        ring_layout "$region" >"$state/$region/ring.json"
    done
    prometheus_configuration >"$state/prometheus.yml"
}
