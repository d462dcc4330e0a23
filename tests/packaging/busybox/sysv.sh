#!/bin/sh
# S99mote under BusyBox.
# shellcheck disable=SC1091,SC2154 # beside this file, which sets them
. /tests/lib.sh

script=/etc/init.d/S99mote
log=/var/log/messages
ip link set lo up
syslogd -O $log

settings() {
    cat >/etc/mote/datadog.yaml
    chgrp mote /etc/mote/datadog.yaml
    chmod 640 /etc/mote/datadog.yaml
}
variables() { cat >/etc/default/mote; }
good_settings() {
    settings <<EOF
api_key: 0123456789abcdef0123456789abcdef
dd_url: http://127.0.0.1:9
tags: [ "round:${1:-1}" ]
control_socket: /run/mote/mote.sock
EOF
}

expect_code 3 "before the first start it does not run" $script status
expect_code 0 "stopping what does not run is no error" $script stop
expect_code 7 "reloading what does not run is one" $script reload
expect_code 2 "a word it does not know is one" $script begin

variables </dev/null
expect_code 6 "without a key it does not start" $script start
expect "and says why" holds "error: no API key" "$output"
expect "and nothing is left" count_is 0 S99mote

good_settings
expect_code 0 "starts" $script start
expect_code 0 "and is there when that returns" $script status
expect "and listens" same "$(cat /run/mote.pid)" "$(cat /run/mote/mote.pid)"
within 20 "says in the system's log that it is ready" says 'mote.*ready: communication=' $log
expect_code 0 "status while it runs" $script status
mote=$(processes mote)
expect "there is one" count_is 1 mote
expect "it runs as its user" same 999 "$(user_of "$mote")"
expect "may write no core file" says '^Max core file size *0 ' "/proc/$mote/limits"
expect_code 0 "starting what runs is no error" $script start
expect "and starts nothing" same "$mote" "$(processes mote)"

good_settings 2
expect_code 0 "reloads" $script reload
within 20 "has read the settings" says 'settings were read again' $log
expect "which it tells" says 'tags is now .* needs a restart' $log
expect "without another process" same "$mote" "$(processes mote)"

another_than() {
    now=$(processes mote)
    [ -n "$now" ] && [ "$now" != "$1" ]
}
ready_times() { [ "$(grep -c 'ready: communication=' $log)" -ge "$1" ]; }

expect_code 0 "restarts" $script restart
expect "the old one is gone" is_gone "$mote"
expect "another is there and listens" same "$(processes mote)" "$(cat /run/mote/mote.pid)"
expect "which is another" another_than "$mote"
within 20 "and ready" ready_times 2

mote=$(processes mote)
kill -KILL "$mote"
within 20 "what was killed is started again" another_than "$mote"
expect "and the log tells" says 'exit code 137; the next start is in 1 s' $log
within 20 "and ready" ready_times 3
expect_code 0 "stops" $script stop
expect "nothing is left" count_is 0 mote
expect "nor a watcher" count_is 0 S99mote
expect "nor a file" same "" "$(ls /run/mote*.pid /run/mote-lines /run/mote/mote.pid 2>/dev/null)"
expect_code 3 "then it does not run" $script status
expect "its last words are in the log" says 'ledger: ' $log

# A watcher that was killed, and a number that another process has now.
expect_code 0 "starts for the next" $script start
within 20 "it is there" count_is 1 mote
within 20 "it is ready" ready_times 4
mote=$(processes mote)
kill -KILL "$(cat /run/mote-watcher.pid)"
within 5 "its watcher is dead" count_is 0 S99mote
expect_code 0 "it still runs" $script status
expect_code 0 "a start replaces it" $script start
expect "the old one is gone" is_gone "$mote"
within 20 "there is one again" count_is 1 mote
within 20 "it is ready" ready_times 5
expect_code 0 "stops" $script stop
sleep 1000 &
other=$!
echo $other >/run/mote.pid
echo $other >/run/mote-watcher.pid
expect_code 1 "files of a run that the power ended are not believed" $script status
expect_code 0 "nor at a stop" $script stop
expect "which lets the other process live" kill -0 $other
kill $other

# What dies again and again.
variables <<EOF
MOTE_PROGRAM=/usr/stand-in/mote
MOTE_PAUSE_MAX=4
MOTE_START_SECONDS=1
EOF
stand_in 'exit 70'
: >$log
killall -HUP syslogd 2>/dev/null
expect_code 0 "starts what will die" $script start
expect "and says that it does not listen" holds "started, and is not ready yet" "$output"
for pause in 1 2 4; do within 20 "the pause grows" says "exit code 70; the next start is in $pause s" $log; done
expect "so that there were three starts in three seconds" starts_are 3
expect_code 1 "the status tells" $script status
fourth() { [ "$(grep -c 'the next start is in 4 s' $log)" = 2 ]; }
within 20 "to a limit" fourth
expect_code 0 "stops in the pause" $script stop
expect "nothing is left" count_is 0 S99mote
expect "it was started four times" starts_are 4

stand_in 'exit 78'
expect_code 1 "a start of what lacks its settings fails" $script start
expect "and says so" holds "did not start" "$output"
within 20 "which is not tried again" says 'exit code 78 and is not started again' $log
within 20 "and has no watcher" count_is 0 S99mote
expect "it was started once" starts_are 1
expect_code 3 "it does not run" $script status

# What does not stop.
variables <<EOF
MOTE_PROGRAM=/usr/stand-in/mote
MOTE_STOP_SECONDS=2
MOTE_START_SECONDS=1
EOF
stand_in 'trap "echo told >>/run/starts" TERM; while :; do sleep 1; done'
expect_code 0 "starts what will not stop" $script start
within 20 "it runs" starts_are 1
expect_code 0 "its stop ends" $script stop
expect "after it was told to" says told /run/starts
expect "and killed" holds "did not stop within 2 s and is killed" "$output"
expect "nothing is left" count_is 0 mote
expect "nor a watcher" count_is 0 S99mote

finish_test
