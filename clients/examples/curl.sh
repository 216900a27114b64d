#!/bin/sh
# The HTTP API with nothing but curl: a message, the history, who is here, a counter.
# HEADCOUNT_URL names the node, HEADCOUNT_API_KEY the key where one is configured.
set -eu
base=$(echo "${HEADCOUNT_URL:-http://127.0.0.1:8000}" | sed 's/^ws/http/') # the other examples say ws:

call() { # method, path, body
    printf '\n%s %s %s\n' "$1" "$2" "${3:-}"
    curl --silent --show-error --fail-with-body --request "$1" "$base$2" \
        --header 'Content-Type: application/json' --header "X-API-Key: ${HEADCOUNT_API_KEY:-}" \
        ${4:+--header "$4"} ${3:+--data "$3"}
    echo
}

# A message. With an Idempotency-Key, sending it again after a lost answer publishes nothing twice.
call POST /v1/channels/lobby/messages '{"data":{"text":"hello from curl"}}' "Idempotency-Key: hello-$$"
call GET '/v1/channels/lobby/messages?limit=3&reverse=true'

# Who is here, one page at a time, and how many.
call GET '/v1/channels/lobby/presence?limit=100'
call GET /v1/channels/lobby/presence/stats

# A counter. With a token (a UUID of version 7), adding it again counts nothing twice.
now=$(printf '%012x' "$(date +%s)000")
token=$(printf '%.8s-%s-7%03x-8%03x-%012x' "$now" "${now#????????}" $(($$ % 4096)) 0 $$)
call POST /v1/counters/likes/add "{\"by\":1,\"token\":\"$token\"}"
call POST /v1/counters/likes/add "{\"by\":1,\"token\":\"$token\"}"
call GET /v1/counters/likes
call GET '/v1/counters?keys=likes,views'
