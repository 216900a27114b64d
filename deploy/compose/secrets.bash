#!/usr/bin/env bash
# Makes deploy/compose/secrets/ once: what all processes know and nobody else may. Nothing there is ever written over.
#   headcount.env   of Headcount's nodes: HEADCOUNT_… variables, which win over files
#   users.acl       of the Redis nodes: deploy/redis/users.acl with the hash of the password
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
rules=${1:-../redis/users.acl}

# 256 bits, as text that needs no quoting anywhere.
random_secret() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }

if ! grep -q '^user headcount ' "$rules"; then
    echo "secrets: $rules has no line that begins with \"user headcount \"" >&2
    exit 1
fi
umask 077
mkdir -p secrets
if [[ ! -e secrets/headcount.env ]]; then
    cat >secrets/headcount.env.new <<END
HEADCOUNT_AUTH__HMAC_SECRETS=$(random_secret)
HEADCOUNT_AUTH__API_KEYS=$(random_secret)
HEADCOUNT_COUNTER__KEY=$(random_secret)
HEADCOUNT_REDIS__PASSWORD=$(random_secret)
END
    mv secrets/headcount.env.new secrets/headcount.env
fi
password=$(sed -n 's/^HEADCOUNT_REDIS__PASSWORD=//p' secrets/headcount.env)
hash=$(printf %s "$password" | sha256sum | cut -d' ' -f1)
# Redis reads the rules of a user from left to right, so the hash stands last.
sed "/^user headcount /s/\$/ #$hash/" "$rules" >secrets/users.acl
# Redis runs in its container as a user of its own, which has to read the file; the folder is for its owner alone.
chmod 0644 secrets/users.acl
echo "secrets: in $(pwd)/secrets"
