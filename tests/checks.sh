# For test scripts that run programs of their own: named checks, the servers that a check talks to, and a line of totals in
# the form of cargo's. Sourced; $work is the script's directory.
# shellcheck shell=bash

passed=0 failed=0
# The servers of the check that runs, each the leader of a process group of its own, and what the last one says.
servers=()
log=

# start COMMAND...: starts a server, with the input that the caller has.
start() {
    log=$work/server.${#servers[@]}
    setsid "$@" <&0 >"$log" 2>&1 &
    servers+=($!)
}
# Ends the servers with the children that they have.
stop() {
    local id
    for id in "${servers[@]}"; do
        kill -- "-$id" 2>/dev/null || true
        wait "$id" 2>/dev/null || true
    done
    rm -f "$work"/server.*
    servers=()
}
trap stop EXIT

# until_true COMMAND...: repeats it until it succeeds. Gives up after a generous time, or when the last server is gone.
until_true() {
    for _ in $(seq 600); do
        "$@" && return 0
        [ ${#servers[@]} -eq 0 ] || kill -0 "${servers[-1]}" 2>/dev/null || break
        sleep 0.05
    done
    echo "never came true: $*"
    return 1
}
# await PATTERN [FILE]: until a line fits of what the last server says, or of that file.
await() { until_true grep -qs -- "$1" "${2:-$log}"; }

# check NAME COMMAND...: one test. The servers that it started are ended.
check() {
    local name=$1
    shift
    if "$@" >"$work/check" 2>&1; then
        passed=$((passed + 1))
        echo "test $name ... ok"
    else
        failed=$((failed + 1))
        cat "$work/check" "$work"/server.* 2>/dev/null || true
        echo "test $name ... FAILED"
    fi
    stop
}
# The last line of the script.
totals() {
    printf '\ntest result: %s. %d passed; %d failed;\n' "$([ $failed -eq 0 ] && echo ok || echo FAILED)" $passed $failed
    [ "$failed" -eq 0 ]
}
