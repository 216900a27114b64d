# Processes that are started, known again and ended. A process is known by its number and the moment of its start, as the
# kernel tells it: numbers are given again to others. Each has a file, its record, under run/.
# shellcheck shell=bash disable=SC2154 # `state` is from layout.bash.

# How long a process may take to end when it is asked to. Longer than shutdown.drain_s.
stop_deadline_s=15

boot_id() { cat /proc/sys/kernel/random/boot_id; }

# birth PID: when it was started, in ticks since the boot; fails if there is no such process, or only its exit status is left.
birth() {
    local line fields
    { line=$(<"/proc/$1/stat"); } 2>/dev/null || return 1
    # The name of the program stands in parentheses and may hold anything.
    read -r -a fields <<<"${line##*) }"
    [[ -n ${fields[0]:-} && ${fields[0]} != [ZXx] ]] || return 1
    echo "${fields[19]}"
}

# start NAME PROGRAM ARGUMENT...: in the background, in a session of its own, without our environment; its output is log/NAME.log.
start() {
    local name=$1 pid born
    shift
    setsid env --ignore-environment PATH="$PATH" HOME="${HOME:-/}" LANG=C.UTF-8 "$@" \
        >>"$state/log/$name.log" 2>&1 </dev/null 9>&- &
    pid=$!
    born=$(birth "$pid") || born=0
    echo "$pid $born $(boot_id)" >"$state/run/$name"
}

# Names of all that were started.
recorded() {
    local name
    for name in $(process_names); do
        [[ ! -e $state/run/$name ]] || echo "$name"
    done
}

# pid_of NAME: its number while it runs; fails if it does not.
pid_of() {
    local pid born boot now
    { read -r pid born boot <"$state/run/$1"; } 2>/dev/null || return 1
    [[ $boot == "$(boot_id)" ]] && now=$(birth "$pid") && [[ $now == "$born" ]] && echo "$pid"
}

is_up() {
    local name
    for name in $(recorded); do
        pid_of "$name" >/dev/null && return 0
    done
    return 1
}

# stop NAME...: asks all to end, and makes those end that do not within the deadline.
stop() {
    local name pid left=() until=$((SECONDS + stop_deadline_s))
    for name in "$@"; do
        # One that stands still hears nothing until it goes on.
        if pid=$(pid_of "$name"); then { kill -TERM "$pid" && kill -CONT "$pid"; } 2>/dev/null || true; fi
    done
    while :; do
        left=()
        for name in "$@"; do
            pid_of "$name" >/dev/null && left+=("$name")
        done
        ((${#left[@]} > 0 && SECONDS < until)) || break
        sleep 0.05
    done
    for name in "${left[@]}"; do
        echo "$name did not end within $stop_deadline_s s: it is killed" >&2
        if pid=$(pid_of "$name"); then kill -KILL "$pid" 2>/dev/null || true; fi
    done
    for name in "${left[@]}"; do
        while pid_of "$name" >/dev/null; do sleep 0.05; done
    done
    for name in "$@"; do rm -f "$state/run/$name"; done
}

# All that was started: first what uses others, then what is used.
stop_all() {
    local name used=() users=()
    for name in $(recorded); do
        case $name in
        ?-etcd | ?-redis-* | link-*) used+=("$name") ;;
        *) users+=("$name") ;;
        esac
    done
    stop "${users[@]}"
    stop "${used[@]}"
}
