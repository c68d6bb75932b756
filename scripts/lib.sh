# shellcheck shell=bash disable=SC2034 # what is set here is used by those who source it
# What the scripts share. Sourced, never run.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
TARGET=${CARGO_TARGET_DIR:-$ROOT/target}
PATH=$PATH:/usr/sbin:/sbin:$HOME/.cargo/bin

# Colours only where a person watches.
if [ -t 1 ]; then
    BOLD=$'\e[1m' DIM=$'\e[2m' GREEN=$'\e[32m' RED=$'\e[31m' PLAIN=$'\e[0m'
else
    BOLD='' DIM='' GREEN='' RED='' PLAIN=''
fi

say() { printf '%s\n' "$*"; }

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

need_root() {
    [ "$(id -u)" -eq 0 ] || die "needs root: it makes network namespaces. Run it with sudo."
}

have() { command -v "$1" >/dev/null 2>&1; }

# wait_until SECONDS COMMAND...: until it succeeds; fails when the time is over.
wait_until() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.1
    done
}

# What the compiler is told to build for: the last word of those who may say it, or "default".
target_cpu() {
    local said
    said=$({ grep -rhoE 'target-cpu=[a-z0-9_-]+' "$ROOT/.cargo" 2>/dev/null || true
        printf '%s\n' "${CARGO_ENCODED_RUSTFLAGS:-}${RUSTFLAGS:-}"; } |
        grep -oE 'target-cpu=[a-z0-9_-]+' | tail -n 1 || true)
    said=${said#target-cpu=}
    printf '%s\n' "${said:-default}"
}
