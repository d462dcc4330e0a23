# For tests in an overlay of this machine: expectations and bounded waiting.
# shellcheck shell=bash

set -uo pipefail
failures=0
output=

pass() { echo "ok: $*"; }
fail() {
    echo "NOT OK: $*"
    failures=$((failures + 1))
}

# expect WHAT COMMAND...: it succeeds.
expect() {
    local what=$1
    shift
    if "$@"; then pass "$what"; else fail "$what ($*)"; fi
}

# expect_code CODE WHAT COMMAND...: it ends with CODE; its output is in $output.
expect_code() {
    local wanted=$1 what=$2 code
    shift 2
    output=$("$@" 2>&1 </dev/null)
    code=$?
    if [ "$code" = "$wanted" ]; then pass "$what"; else fail "$what: exit code $code and not $wanted: $output"; fi
}

# within SECONDS WHAT COMMAND...: it succeeds by then.
within() {
    local left=$(($1 * 10)) what=$2
    shift 2
    until "$@"; do
        left=$((left - 1))
        if [ "$left" -le 0 ]; then
            fail "$what ($*)"
            return 1
        fi
        sleep 0.1
    done
    pass "$what"
}

not() { ! "$@"; }
is_gone() { ! kill -0 "$1" 2>/dev/null; }
same() { [ "$1" = "$2" ]; }
says() { grep -q -- "$1" "$2" 2>/dev/null; }
holds() { [[ $2 == *"$1"* ]]; }
# Of a file: mode, user and group.
owned() { stat -c '%a %U %G' "$1"; }

# Numbers of processes by the name of their program, without those that are dead and not yet waited for.
processes() {
    local stat number name letter
    for stat in /proc/[0-9]*/stat; do
        read -r number name letter _ 2>/dev/null <"$stat" || continue
        if [ "$name" = "($1)" ] && [ "$letter" != Z ]; then echo "$number"; fi
    done
}
count_is() { [ "$(processes "$2" | wc -l)" = "$1" ]; }
user_of() { sed -n 's/^Uid:\t\([0-9]*\).*/\1/p' "/proc/$1/status"; }

# Ends the test.
finish_test() {
    [ "$failures" = 0 ]
    exit
}
