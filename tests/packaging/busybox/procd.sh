#!/bin/sh
# The script for OpenWrt, with stand-ins for what its rc.common, UCI and procd do. They run the program as procd would.
# shellcheck disable=SC1091,SC2154 # beside this file, which sets them
. /tests/lib.sh

config=/etc/config/mote
ip link set lo up
syslogd -O /var/log/messages
mkdir -p /etc/config

cat >/etc/rc.common <<'EOF'
#!/bin/sh
# UCI's files read as commands.
section=
config() { section=$2; }
option() { eval "uci_${section}_$1=\$2"; }
list() {
    eval "length=\$((\${uci_${section}_$1_LENGTH:-0} + 1))"
    eval "uci_${section}_$1_LENGTH=$length uci_${section}_$1_ITEM$length=\$2"
}
config_load() {
    for known in $(set | sed -n 's/^\(uci_[A-Za-z0-9_]*\)=.*/\1/p'); do unset "$known"; done
    . "/etc/config/$1"
}
config_get() { eval "$1=\${uci_$2_$3:-\$4}"; }
config_get_bool() { config_get "$@"; }
config_list_foreach() {
    item=1
    while eval "[ $item -le \${uci_$1_$2_LENGTH:-0} ]"; do
        eval "$3 \"\$uci_$1_$2_ITEM$item\""
        item=$((item + 1))
    done
}

pid_file=/run/procd.pid
procd_open_instance() { : >/run/procd.params; command=; }
procd_set_param() {
    echo "$*" >>/run/procd.params
    eval "shift; param_$1=\"\$*\""
}
procd_close_instance() {
    procd_running mote && return
    start-stop-daemon -S -b -m -p $pid_file -c "$param_user:$param_group" -x "${param_command%% *}" -- ${param_command#* }
}
procd_running() {
    read -r number 2>/dev/null <$pid_file && read -r _ name letter _ 2>/dev/null <"/proc/$number/stat" &&
        [ "$name" = "(mote)" ] && [ "$letter" != Z ]
}
procd_send_signal() { kill -"$3" "$(cat $pid_file)"; }
procd_add_reload_trigger() { echo "trigger $1" >>/run/procd.params; }

start() { start_service && service_triggers; }
stop() {
    procd_running mote || return 0
    kill -TERM "$(cat $pid_file)"
    while procd_running mote; do usleep 100000; done
    rm $pid_file
}
reload() { reload_service; }
restart() { stop; start; }
. "$1"
"$2"
EOF

script=/etc/init.d/mote
settings=/var/etc/mote.yaml
mote_is_ready() { [ -S /var/run/mote/mote.sock ]; }

expect_code 1 "without a key it does not start" $script start
within 5 "and says so" says 'mote: cannot start like this' /var/log/messages
expect "nothing is left" count_is 0 mote

cat >$config <<'EOF'
config mote 'main'
	option enabled '1'
	option api_key '0123456789abcdef0123456789abcdef'
	option site 'datadoghq.eu'
	option env "it's: #1"
	list tags 'site:a b'
	list tags 'rack:"7"'
	option max_memory '8MiB'
	option run_path '/var/lib/mote'
	option spool_bytes '4194304'
	list yaml 'dd_url: http://127.0.0.1:9'
EOF
expect_code 0 "a reload, as at a change of UCI, starts it when there is a key" $script reload
within 20 "it is ready" mote_is_ready
mote=$(processes mote)
expect "it runs as its user" same 999 "$(user_of "$mote")"
cat >/tmp/expected <<'EOF'
api_key: '0123456789abcdef0123456789abcdef'
site: 'datadoghq.eu'
env: 'it''s: #1'
max_memory: '8MiB'
run_path: '/var/lib/mote'
forwarder_storage_max_size_in_bytes: '4194304'
control_socket: /var/run/mote/mote.sock
tags:
  - 'site:a b'
  - 'rack:"7"'
dd_url: http://127.0.0.1:9
EOF
expect_code 0 "UCI's options are in the settings file" diff /tmp/expected $settings
expect "which only root and the agent read" same "640 root mote" "$(stat -c '%a %U %G' $settings)"
"$(command -v mote)" check --config $settings >/tmp/checked
expect "and the agent understands: environment" says "^env  *= it's: #1 (/var/etc/mote.yaml)" /tmp/checked
expect "and tags" says '^tags  *= .*site:a b' /tmp/checked
expect "and sizes" says '^forwarder_storage_max_size_in_bytes  *= 4 *MiB\|^forwarder_storage_max_size_in_bytes  *= 4194304' /tmp/checked
expect "without a warning" not says '^warning' /tmp/checked
expect "the key is no argument" not says 0123456789abcdef "/proc/$mote/cmdline"
expect "nor in the environment" not says 0123456789abcdef "/proc/$mote/environ"
for line in "respawn 60 15 0" "term_timeout 20" "user mote" "limits core=0" "stderr 1" "trigger mote"; do
    expect "procd is told: $line" says "^$line$" /run/procd.params
done

sed -i 's/0123456789abcdef0123456789abcdef/abcdef0123456789abcdef0123456789/' $config
expect_code 0 "reloads" $script reload
expect "without another process" same "$mote" "$(processes mote)"
expect "with the other key in the file" says "^api_key: 'abcdef" $settings
expect_code 0 "restarts" $script restart
within 20 "as another process" not same "$mote" "$(processes mote)"
within 20 "which is ready" mote_is_ready
sed -i "s/enabled '1'/enabled '0'/" $config
expect_code 0 "a reload stops what is switched off" $script reload
expect "nothing is left" count_is 0 mote
expect_code 0 "a start leaves it off" $script start
expect "nothing runs" count_is 0 mote

printf 'api_key: 0123456789abcdef0123456789abcdef\ndd_url: http://127.0.0.1:9\nhost_metrics: false\nforwarder_storage_max_disk_ratio: 1\n' >/etc/mote/own.yaml
chmod 644 /etc/mote/own.yaml
printf "config mote 'main'\n\toption config_file '/etc/mote/own.yaml'\n" >$config
expect_code 0 "starts with a settings file of the user's" $script start
within 20 "it runs" count_is 1 mote
expect "with that file" says '^command /usr/bin/mote run --config /etc/mote/own.yaml$' /run/procd.params
expect_code 0 "stops" $script stop
expect "nothing is left" count_is 0 mote

finish_test
