# Functions and settings for the scripts in this directory, which source it.
# shellcheck shell=bash

# The cache is outside the checkout, so that a fresh clone does not fetch and build everything again.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/nats-matrix
# The directory in which `crate` installs programs.
PATH=$PATH:$cache/tools/bin

# The tools for a release, named once for all scripts.
# shellcheck disable=SC2034
deb=cargo-deb@3.8.0
# shellcheck disable=SC2034
cyclonedx=cargo-cyclonedx@0.5.9

steps=()
# step NAME: begins a step, which lasts until the next one or `how_long`.
step() {
    step_done
    step_name=$* step_began=$SECONDS
    printf '\n== %s\n' "$*"
}
step_done() {
    [ -z "${step_name:-}" ] || steps+=("$(printf '%6d s  %s' $((SECONDS - step_began)) "$step_name")")
    step_name=
}

# how_long LIMIT: prints the seconds that each step and all of them took, and whether that is more than LIMIT. It does
# not fail then, because a busy machine is not the fault of the change.
how_long() {
    step_done
    printf '\n== how long it took\n'
    printf '%s\n' "${steps[@]}"
    printf '%6d s  all\n' "$SECONDS"
    [ "$SECONDS" -le "$1" ] || echo "TOO LONG: it should take at most $1 s; is the machine busy, or does a step do too much?"
}

# need COMMAND [PACKAGE]: makes sure that a program is there, and installs it from Debian if it is missing and we are
# root.
need() {
    command -v "$1" >/dev/null && return
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
    { apt-get update -q && apt-get install -qy --no-install-recommends "${2:-$1}"; } >/dev/null
}

# from_pypi NAME REQUIREMENTS: puts the programs of these packages, checked by their hashes, on the PATH.
from_pypi() {
    local venv=$cache/$1
    if ! cmp -s "$2" "$venv/requirements.txt"; then
        python3 -m venv --clear "$venv"
        "$venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r "$2"
        cp "$2" "$venv/requirements.txt"
    fi
    PATH=$venv/bin:$PATH
}

# tests ARGUMENT...: runs `cargo test` with these arguments and adds what it prints to $log. The end-to-end tests meet
# deadlines that a busy machine may miss, so up to three of them that fail run once more, without others beside them.
# Each that passes only then is named here and at the end of the run.
tests() {
    local first again name
    local -a names targets
    first=$(mktemp) again=$(mktemp)
    if cargo test --no-fail-fast "$@" 2>&1 | tee "$first"; then
        cat "$first" >>"$log"
        rm "$first" "$again"
        return
    fi
    cat "$first" >>"$log"
    mapfile -t names < <(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$first")
    mapfile -t targets < <(sed -n 's/^    `\(-p .*\)`$/\1/p' "$first")
    # A program that was ended has no result, and which of its tests did not run is not known.
    if [ "${targets[*]}" != "-p nats-matrix --test e2e" ] || [ "${#names[@]}" = 0 ] || [ "${#names[@]}" -gt 3 ] ||
        [ "$(grep -c '^test result: FAILED' "$first")" != 1 ]; then
        return 1
    fi
    # The options that choose features come before the filters of the tests.
    # shellcheck disable=SC2046
    cargo test --package nats-matrix --test e2e $(features "$@") --locked -- --exact --test-threads 1 "${names[@]}" 2>&1 |
        tee "$again"
    grep -q "^test result: ok\. ${#names[@]} passed" "$again" || return 1
    cat "$again" >>"$log"
    rm "$first" "$again"
    for name in "${names[@]}"; do
        flaky+=("$name")
        echo "FLAKY: $name failed once and passed alone"
    done
}
flaky=()

# features ARGUMENT...: prints the argument `--features` and its value, if it is there.
features() {
    while [ $# -gt 0 ]; do
        case $1 in
            --) return ;;
            --features) printf '%s %s\n' "$1" "$2"; return ;;
        esac
        shift
    done
}

# crate COMMAND CRATE@VERSION [OPTION...]: compiles a program once and puts it on the PATH.
crate() {
    command -v "$1" >/dev/null ||
        CARGO_TARGET_DIR=$cache/tools/target cargo install --quiet --locked --root "$cache/tools" "${@:2}"
}

# advisories: checks that no crate in our lock files has an advisory. It uses the current database, or else the copy
# that was fetched before, and prints its age.
advisories() {
    local manifest database databases=${CARGO_HOME:-$HOME/.cargo}/advisory-dbs
    cargo deny fetch db 2>/dev/null || echo "the advisory database cannot be reached"
    database=$(find "$databases" -mindepth 1 -maxdepth 1 -name 'advisory-db-*' -type d -print -quit 2>/dev/null || true)
    if [ -z "$database" ]; then
        echo "NOT RUN: advisories, as there is no copy of their database in $databases either"
        return
    fi
    git -C "$database" log -1 --format='by the database of %cs, which is %cr'
    for manifest in Cargo.toml fuzz/Cargo.toml; do
        cargo fetch --quiet --locked --manifest-path "$manifest"
        echo "${manifest%.toml}.lock"
        cargo deny --offline --manifest-path "$manifest" --config deny.toml check advisories
    done
}

# sbom FILE: writes a CycloneDX list of every crate that is linked into the program. With the same SOURCE_DATE_EPOCH
# it is the same everywhere.
sbom() {
    cargo cyclonedx --quiet --manifest-path bridge/Cargo.toml --format json --no-build-deps \
        --override-filename nats-matrix.cdx
    sed "s|path+file://$PWD/|path+file:///nats-matrix/|" bridge/nats-matrix.cdx.json >"$1"
    # cargo-cyclonedx writes one file for each member of the workspace.
    rm {bridge,manual,testbed}/nats-matrix.cdx.json
}
