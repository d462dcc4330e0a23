#!/usr/bin/env bash
# The unit, as far as systemd judges it without running: it is not process 1 here.
# shellcheck disable=SC2317 source-path=SCRIPTDIR source=lib.sh # called by name
. /tests/lib.sh

dpkg --install /tests/mote_*.deb >/tmp/log 2>&1 || cat /tmp/log
unit=/lib/systemd/system/mote.service

# Before systemd 254 the growing pause is unknown, which is a line and no error.
systemd-analyze verify "$unit" >/tmp/verify 2>&1
code=$?
known="Unknown key (name )?'(RestartSteps|RestartMaxDelaySec)' in section \[?'?Service'?\]?, ignoring"
expect "the unit is sound" same 0 $code
expect "and nothing is to be said about it" same "" "$(grep -Ev "$known" /tmp/verify)"

systemd-analyze security --offline=true --no-pager "$unit" >/tmp/security 2>&1
exposure=$(sed -n 's/.*Overall exposure level for mote.service: \([0-9.]*\).*/\1/p' /tmp/security)
echo "exposure $exposure of 10"
expect "it is shut off well" awk "BEGIN { exit !(0 < $exposure + 0 && $exposure + 0 < 2) }"

# What the unit's filter lets through, against what the agent calls on its way from start to end.
expand() {
    local word
    for word; do
        case $word in
            @*) mapfile -t words < <(systemd-analyze syscall-filter "$word" | sed -n 's/^ \+\([@a-z0-9_-]*\).*/\1/p') && expand "${words[@]}" ;;
            *) echo "$word" ;;
        esac
    done
}
filter() { sed -n "s/^SystemCallFilter=$1\([@a-z].*\)/\1/p" "$unit"; }
# shellcheck disable=SC2046 # words
expand $(filter "") | sort -u >/tmp/allowed
# shellcheck disable=SC2046 # words
expand $(filter "~") | sort -u >/tmp/denied
comm -23 /tmp/allowed /tmp/denied >/tmp/open
expect "the filter could be read" test "$(wc -l </tmp/open)" -gt 200
ip link set lo up
# A manager's socket that takes whatever comes, so that what is told it is among the calls.
python3 -c 'import socket, time
manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
manager.bind("/tmp/notify")
while True:
    open("/tmp/told", "ab").write(manager.recv(4096) + b"\n\n")' &
manager=$!
within 20 "a manager listens" test -S /tmp/notify
DD_API_KEY=0123456789abcdef0123456789abcdef DD_DD_URL=http://127.0.0.1:9 DD_RUN_PATH=/tmp/state \
    NOTIFY_SOCKET=/tmp/notify WATCHDOG_USEC=1000000 DD_LOG_FILE=/tmp/file.log DD_LOG_TO_SYSLOG=true DD_SYSLOG_URI=udp://127.0.0.1:9514 \
    strace -f -qq -e signal=none -o /tmp/calls /usr/bin/mote run 2>/tmp/mote.log &
tracer=$!
within 60 "mote runs" says 'ready: ' /tmp/mote.log
printf 'a:1|c' >/dev/udp/127.0.0.1/8125
exec 3<>/dev/tcp/127.0.0.1/8126
printf 'GET /info HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3
read -r -t 20 answer <&3
expect "it answers" holds "200 OK" "$answer"
exec 3>&-
kill -HUP "$(processes mote)"
within 20 "and has reloaded" says 'settings were read again' /tmp/mote.log
kill -TERM "$(processes mote)"
wait $tracer
kill $manager
for state in READY=1 RELOADING=1 WATCHDOG=1 STOPPING=1; do expect "the manager was told $state" says "^$state" /tmp/told; done
expect "and ends" says 'ledger: ' /tmp/mote.log
sed -n 's/^[0-9]* \+\([a-z0-9_]*\)(.*/\1/p' /tmp/calls | sort -u >/tmp/called
order=$(sed -n 's/^[0-9]* \+rt_sigaction(\(SIGHUP\|SIGUSR1\|SIGTERM\|SIGINT\), {.*/\1/p' /tmp/calls | awk '!seen[$0]++' | tr '\n' ' ')
expect "signals that end nobody are taken care of first" same "SIGHUP SIGUSR1 SIGTERM SIGINT " "$order"
expect "its calls were seen" test "$(wc -l </tmp/called)" -gt 20
expect "the filter stops none" same "" "$(comm -23 /tmp/called /tmp/open | tr '\n' ' ')"

finish_test
