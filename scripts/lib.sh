# SPDX-License-Identifier: Apache-2.0
# What the scripts share: where things are, and how a step is shown. Sourced, not run.
# shellcheck shell=sh

top=$(CDPATH="" cd -- "$(dirname -- "$0")/.." && pwd)

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# step TITLE COMMAND...: one line while and after it runs; what it prints is kept and shown if it fails.
step() {
    title=$1
    shift
    started=$(date +%s)
    log=$(mktemp)
    [ -t 1 ] && printf '  ...  %s\r' "$title"
    if "$@" >"$log" 2>&1; then
        printf '  ok   %s (%ss)\n' "$title" "$(($(date +%s) - started))"
        rm -f "$log"
    else
        status=$?
        printf '  FAIL %s\n' "$title"
        tail -n 60 "$log"
        rm -f "$log"
        return "$status"
    fi
}

# In CI or a pipe there is nobody to see a line being overwritten, so a build says where it is by itself.
build() {
    preset=$1
    step "configure ($preset)" sh -c "cd '$top' && cmake --preset '$preset'" &&
        step "build ($preset)" sh -c "cd '$top' && cmake --build --preset '$preset'"
}
