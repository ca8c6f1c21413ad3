#!/bin/sh
# A client of a session in plain shell: what a task can say by the helpers that come with qd. Run by a task, for example
#     Task(id: "count", run: "sh examples/clients/client.sh visits 20")
# it counts up a value that all tasks share, tells how far it has come, and says so at the end.
set -eu
key=$1 times=$2
qd=${QD_BIN:-qd}

n=0
while [ "$n" -lt "$times" ]; do
    # Nobody else's change is lost.
    value=$("$qd" state add "$key")
    n=$((n + 1))
    "$qd" progress "$n/$times" "$key is $value"
done
"$qd" msg "counted $key up $times times"
