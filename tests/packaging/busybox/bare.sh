#!/bin/sh
# A board in its first minute: no /proc, nothing that can be written but /run, no name that can be resolved, nobody who takes the log.
# Then the network comes, and the system's log; and once more with a /proc that has processes only.
# shellcheck disable=SC1091,SC2154 # beside this file, which sets them
. /tests/lib.sh

ip link set lo up
log=/run/console
export DD_API_KEY=0123456789abcdef0123456789abcdef DD_DD_URL=http://intake.test:9000 DD_APM_DD_URL=http://intake.test:9000 DD_HEALTH_METRICS=false
export DD_FORWARDER_BACKOFF_BASE=0.5 DD_FORWARDER_BACKOFF_MAX=1 DD_LOG_FILE=/run/mote.log DD_LOG_TO_SYSLOG=true

# answer: takes a request with its body, and is content.
cat >/run/answer <<'ANSWER'
#!/bin/sh
length=0
while read -r name value; do
    value=${value%?}
    case $name in
        [Cc]ontent-[Ll]ength:) length=$value ;;
        ?) break ;;
    esac
done
head -c "$length" >/dev/null
echo answered >>/run/answers
printf 'HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nConnection: close\r\n\r\n'
ANSWER
chmod 755 /run/answer

told() {
    kill -USR1 "$pid"
    tail -n 1 /run/mote.log | grep -q "$1"
}

expect "there is no /proc" not test -e /proc/self
expect "nothing can be written to" not touch /etc/touched
expect "no name can be resolved" not test -s /etc/resolv.conf
mote run --daemon --pid-file /run/mote.pid >$log 2>&1
expect "a daemon starts all the same" same 0 $?
pid=$(cat /run/mote.pid)
expect "it runs" kill -0 "$pid"
expect "says so" says 'ready: communication=127.0.0.1:8124 traces=127.0.0.1:8126' $log
within 20 "and that there is no log yet" says "the system's log: .*lines wait" /run/mote.log
span='{"trace_id":1,"span_id":2,"parent_id":0,"service":"s","name":"n","resource":"r","start":1700000000000000000,"duration":1,"error":0}'
expect "it takes a span" wget -q -O /run/answer.json --header 'Content-Type: application/json' --post-data "[[$span]]" \
    http://127.0.0.1:8126/v0.3/traces
within 40 "which nobody takes" says 'WARN.*no answer from the intake' /run/mote.log
within 20 "for which there is no spool" says 'WARN.*Read-only file system.*waits in memory only' /run/mote.log
within 20 "so that it waits" told 'traces accepted=1 restored=0 sent=0 memory=1'

syslogd -O /run/messages
echo '127.0.0.1 intake.test' >/run/hosts
nc -ll -p 9000 -e /run/answer &
within 60 "when the network comes, what waited is sent" told 'traces accepted=1 restored=0 sent=1'
expect "to the intake" says answered /run/answers
within 90 "and lines that waited are in the system's log" says 'daemon.info mote\[[0-9]*\]: MOTE | INFO | ready: ' /run/messages
kill -HUP "$pid"
within 20 "it reloads" says 'settings were read again' /run/mote.log
kill -TERM "$pid"
within 20 "stops" is_gone "$pid"
expect "its pid file is gone" not test -e /run/mote.pid
expect "its books balance" says 'ledger: .* balanced lost=0' /run/mote.log

if mount -t proc -o subset=pid proc /proc; then
    expect "there is a part of /proc" test -e /proc/self/status
    expect "and a part is not" not test -e /proc/net -o -e /proc/sys
    mote run --daemon --pid-file /run/mote.pid >$log 2>&1
    expect "a daemon starts all the same" same 0 $?
    pid=$(cat /run/mote.pid)
    expect "it names itself" same "$pid" "$(processes mote)"
    kill -TERM "$pid"
    within 20 "stops" is_gone "$pid"
else
    echo "not tried: this kernel knows no part of /proc"
fi

[ "$failures" = 0 ] || cat $log /run/mote.log
finish_test
