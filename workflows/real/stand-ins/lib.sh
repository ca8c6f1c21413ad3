# What the stand-ins share: a call is written down, and fails if the test wants it to.
name=$(basename "$0")
echo "$name $*" >> "$STAND_IN/calls"
for wish in "fail-$name" "fail-$name-$1"; do
    [ -e "$STAND_IN/$wish" ] || continue
    # several may be called at once: one at a time reads and changes the wish
    until mkdir "$STAND_IN/.lock" 2> /dev/null; do sleep 0.01; done
    # fail-NAME holds an exit code, and how often it fails before it works again
    code= left=
    if [ -e "$STAND_IN/$wish" ]; then
        read -r code left < "$STAND_IN/$wish"
        if [ -n "$left" ] && [ "$left" -le 1 ]; then
            rm "$STAND_IN/$wish"
        elif [ -n "$left" ]; then
            echo "$code $((left - 1))" > "$STAND_IN/$wish"
        fi
    fi
    rmdir "$STAND_IN/.lock"
    if [ -n "$code" ]; then
        echo "$name: told to fail" >&2
        exit "$code"
    fi
done
# wait-NAME holds it until the file is gone
while [ -e "$STAND_IN/wait-$name" ]; do sleep 0.02; done
