#!/bin/sh
# The folder for runit, under runsv.
# shellcheck disable=SC1091,SC2154 # beside this file, which sets them
. /tests/lib.sh

service=/sv/mote
log=/var/log/mote/current
ip link set lo up
printf 'api_key: 0123456789abcdef0123456789abcdef\ndd_url: http://127.0.0.1:9\nhost_metrics: false\nforwarder_storage_max_disk_ratio: 1\n' >/etc/mote/datadog.yaml
chgrp mote /etc/mote/datadog.yaml
chmod 640 /etc/mote/datadog.yaml

is() { holds "$1" "$(sv status $service)"; }
another_than() {
    now=$(processes mote)
    [ -n "$now" ] && [ "$now" != "$1" ]
}
ready_times() { [ "$(cat $log /var/log/mote/@* 2>/dev/null | grep -c 'ready: communication=')" -ge "$1" ]; }

runsv $service &
supervisor=$!
within 20 "starts" is "run: "
within 20 "says in its log that it is ready" ready_times 1
mote=$(processes mote)
expect "it runs as its user" same 999 "$(user_of "$mote")"
expect "as does its log" same 999 "$(user_of "$(processes svlogd)")"
expect "may write no core file" says '^Max core file size *0 ' "/proc/$mote/limits"
expect_code 0 "starting what runs is no error" sv up $service
expect "and starts nothing" same "$mote" "$(processes mote)"

expect_code 0 "reloads" sv hup $service
within 20 "has read the settings" says 'settings were read again' $log
expect "without another process" same "$mote" "$(processes mote)"
expect_code 0 "restarts" sv restart $service
within 20 "as another process" another_than "$mote"
within 20 "which is ready" ready_times 2
expect_code 0 "stops" sv -w 20 down $service
expect "with its pid file" not test -e /run/mote/mote.pid
expect_code 0 "a start by hand" sv -w 20 start $service
mote=$(processes mote)
expect "ends when it listens" same "$mote" "$(cat /run/mote/mote.pid)"
expect "at its third start" ready_times 3
echo stale >/run/mote/other && mv /run/mote/other /run/mote/mote.pid
kill -KILL "$mote"
within 20 "what was killed is started again" another_than "$mote"
expect "after a pause" says 'the next start is in 1 s' $log
within 20 "it is ready" ready_times 4
expect "and names itself" same "$(processes mote)" "$(cat /run/mote/mote.pid)"
expect_code 0 "stops" sv -w 20 down $service
expect "it is down" is "down: "
expect "nothing is left" count_is 0 mote
expect "its last words are in the log" says 'ledger: ' $log

echo MOTE_PROGRAM=/usr/stand-in/mote >/etc/default/mote
stand_in 'exit 70'
expect_code 0 "starts what will die" sv up $service
for pause in 1 2 4; do within 20 "the pause grows" says "the next start is in $pause s" $log; done
expect "so that there were three starts in three seconds" starts_are 3
expect_code 0 "stops in the pause" sv -w 3 down $service
expect "it is down" is "down: "
expect "a start by hand has no pause" not test -e /run/mote.pause

stand_in 'exit 78'
expect_code 0 "starts what lacks its settings" sv up $service
within 20 "which is not tried again" says 'ended with exit code 78' $log
within 20 "it is down" is "down: "
expect "it was started once" starts_are 1

kill -TERM $supervisor
wait $supervisor
finish_test
