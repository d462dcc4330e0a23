#!/bin/sh
# What a script does: lines by nc. $1 is the port, $2 where to write what was sent.
set -eu
n=0
while [ $n -lt 20 ]; do
    printf 'script.runs:1|c|#job:backup\n' | nc -u -q 0 127.0.0.1 "$1"
    printf 'script.free:%d|g|#job:backup\nscript.bytes:%d:1|d|#job:backup' $n $n | nc -u -q 0 127.0.0.1 "$1"
    n=$((n + 1))
done
echo "$n" >"$2"
