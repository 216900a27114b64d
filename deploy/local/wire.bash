# What the link is told.
# shellcheck shell=bash disable=SC2154 # What is not set here is from layout.bash.

# How long a link may take to do what it is told.
obey_deadline_s=5

# set_links TO_A TO_B: the states of the links into each region; returns when they have taken effect.
set_links() {
    local region link wanted
    for region in "${regions[@]}"; do
        pid_of "link-to-$region" >/dev/null || fail "the link to region $region does not run: $(shown "$here/status") shows what does"
    done
    for region in "${regions[@]}"; do
        link=$state/links/to-$region
        wanted=$1
        shift
        echo "$wanted" >"$link.wanted"
        mv "$link.wanted" "$link"
    done
    local until=$((SECONDS + obey_deadline_s))
    for region in "${regions[@]}"; do
        while [[ -n $(trouble_of "link-to-$region") ]]; do
            ((SECONDS < until)) || fail "the link to region $region does not do what it is told: see $(shown "$state/log/link-to-$region.log")"
            sleep 0.02
        done
    done
}
