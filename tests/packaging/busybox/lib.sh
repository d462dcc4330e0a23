#!/bin/sh
# For scripts that test in a system of their own: expectations, bounded waiting, and what a process says of itself.

failures=0
output=

pass() { echo "ok: $*"; }
fail() {
    echo "NOT OK: $*"
    failures=$((failures + 1))
}

# expect WHAT COMMAND...: it succeeds.
expect() {
    what=$1
    shift
    if "$@"; then pass "$what"; else fail "$what ($*)"; fi
}

# expect_code CODE WHAT COMMAND...: it ends with CODE; its output is in $output.
expect_code() {
    wanted=$1 what=$2
    shift 2
    output=$("$@" 2>&1)
    code=$?
    if [ "$code" = "$wanted" ]; then pass "$what"; else fail "$what: exit code $code and not $wanted: $output"; fi
}

# within SECONDS WHAT COMMAND...: it succeeds by then.
within() {
    left=$(($1 * 10)) what=$2
    shift 2
    while ! "$@"; do
        left=$((left - 1))
        if [ "$left" -le 0 ]; then
            fail "$what ($*)"
            return 1
        fi
        usleep 100000
    done
    pass "$what"
}

not() { ! "$@"; }
same() { [ "$1" = "$2" ]; }
says() { grep -q -- "$1" "$2" 2>/dev/null; }
is_gone() { not kill -0 "$1" 2>/dev/null; }
holds() { case $2 in *"$1"*) ;; *) return 1 ;; esac; }

# Numbers of processes by the name of their program, without those that are dead and not yet waited for.
processes() {
    for stat in /proc/[0-9]*/stat; do
        read -r number name letter _ 2>/dev/null <"$stat" || continue
        if [ "$name" = "($1)" ] && [ "$letter" != Z ]; then echo "$number"; fi
    done
}
count_is() { [ "$(processes "$2" | wc -l)" = "$1" ]; }
user_of() { sed -n 's/^Uid:\t\([0-9]*\).*/\1/p' "/proc/$1/status"; }

# A stand-in for mote: takes any settings, then does what $1 says.
stand_in() {
    mkdir -p /usr/stand-in
    # shellcheck disable=SC2016 # for the script that is written
    printf '#!/bin/sh\n[ "$1" != check ] || exit 0\necho started >>/run/starts\n%s\n' "$1" >/usr/stand-in/mote
    chmod 755 /usr/stand-in /usr/stand-in/mote
    : >/run/starts
    chmod 666 /run/starts
}
starts_are() { [ "$(wc -l </run/starts)" = "$1" ]; }

# Ends the test.
finish_test() {
    [ "$failures" = 0 ]
    exit
}
