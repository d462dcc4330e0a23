#!/usr/bin/env bash
# The scripts for OpenRC, under OpenRC.
# shellcheck disable=SC2317 source-path=SCRIPTDIR source=lib.sh # called by name
. /tests/lib.sh

# Not over the links that /bin, /lib and /sbin are.
for folder in /tools/*; do cp -a "$folder/." "/${folder#/tools/}/" || exit 1; done
ldconfig
tar -xzf /tests/mote-*.tar.gz -C /tmp
cd /tmp/mote-* || exit 1
cp mote /usr/bin/mote
install -D -m 755 openrc/mote.initd /etc/init.d/mote
install -D -m 640 openrc/mote.confd /etc/conf.d/mote
useradd --system --user-group --no-create-home mote
install -D -m 640 -g mote etc/datadog.yaml /etc/mote/datadog.yaml
log=/var/log/mote.log
echo "error_log=$log" >>/etc/conf.d/mote
ip link set lo up
# What OpenRC makes at the boot, and the list of dependencies that Debian's wants to read.
mkdir -p /run/openrc/{daemons,exclusive,failed,hotplugged,inactive,init.d,options,scheduled,started,starting,stopping,tmp,wasinactive}
touch /run/openrc/softlevel /etc/insserv.conf
# Nothing else is to be started here: what mote would like to have before it counts as there.
echo 'rc_need="" rc_use=""' >>/etc/conf.d/mote

service() { rc-service mote "$@"; }
ready_times() { [ "$(grep -c 'ready: communication=' "$log" 2>/dev/null || true)" -ge "$1" ] 2>/dev/null; }
another_than() {
    local now
    now=$(processes mote)
    [ -n "$now" ] && [ "$now" != "$1" ]
}

expect_code 3 "before the first start it does not run" service status
expect_code 1 "without a key it does not start" service start
expect "and says why" holds "error: no API key" "$output"
expect "nothing is left" count_is 0 supervise-daemon

printf 'api_key: 0123456789abcdef0123456789abcdef\ndd_url: http://127.0.0.1:9\nhost_metrics: false\nforwarder_storage_max_disk_ratio: 1\n' >>/etc/mote/datadog.yaml
expect_code 0 "starts" service start
expect "and listens when that returns" same "$(processes mote)" "$(cat /run/mote/mote.pid)"
expect "without a warning" not holds "not ready yet" "$output"
within 20 "is ready" ready_times 1
expect_code 0 "status while it runs" service status
mote=$(processes mote)
expect "it runs as its user" same "$(id -u mote)" "$(user_of "$mote")"
expect "may write no core file" says '^Max core file size *0 ' "/proc/$mote/limits"
expect "its folders are its own" same "750 mote mote 750 mote mote" "$(owned /var/lib/mote) $(owned /run/mote)"
expect_code 0 "starting what runs is no error" service start
expect "and starts nothing" same "$mote" "$(processes mote)"

expect_code 0 "reloads" service reload
within 20 "has read the settings" says 'settings were read again' "$log"
expect "without another process" same "$mote" "$(processes mote)"
expect_code 0 "restarts" service restart
expect "the old one is gone" is_gone "$mote"
expect "another is there" another_than "$mote"
expect "and listens" same "$(processes mote)" "$(cat /run/mote/mote.pid)"
within 20 "and ready" ready_times 2
expect_code 0 "stops" service stop
expect "nothing is left" count_is 0 mote
expect "nor a supervisor" count_is 0 supervise-daemon
expect "its last words are in the log" says 'ledger: ' "$log"
expect_code 3 "then it does not run" service status
expect_code 0 "stopping what does not run is no error" service stop

echo 'MOTE_RESPAWN_DELAY=1' >>/etc/conf.d/mote
expect_code 0 "starts for the next" service start
within 20 "is ready" ready_times 3
mote=$(processes mote)
kill -KILL "$mote"
within 20 "what was killed is started again" another_than "$mote"
within 20 "is ready" ready_times 4

# More often than the ten times after which OpenRC by itself would give up.
cat >/usr/bin/mote.new <<'EOF'
#!/bin/sh
[ "$1" != check ] || exit 0
echo started >>/tmp/starts
exit 70
EOF
chmod 755 /usr/bin/mote.new
: >/tmp/starts
chmod 666 /tmp/starts
mv /usr/bin/mote.new /usr/bin/mote
kill -KILL "$(processes mote)"
starts_are() { [ "$(wc -l </tmp/starts)" -ge "$1" ]; }
before=$SECONDS
within 60 "what dies again and again is started again and again" starts_are 12
expect "once a second, as it was told" test $((SECONDS - before)) -ge 10
expect_code 0 "stops" service stop
expect "nothing is left" count_is 0 supervise-daemon

finish_test
