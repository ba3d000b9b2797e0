# setup.sh - sourced by start.sh and test.sh: installs the Debian packages that are missing, saying which and why.
# Elsewhere it says what to install. Builds nothing.

# install WHY PACKAGE...: on Debian; does nothing if all are there.
install() {
    why=$1
    shift
    missing=""
    for package; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q ' installed$' || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    echo "Installing $why:$missing"
    root=""
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null 2>&1 || { echo "Neither root nor sudo: install$missing by hand." >&2; exit 1; }
        root="sudo"
    fi
    $root env DEBIAN_FRONTEND=noninteractive apt-get update -qq &&
        $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null ||
        { echo "apt-get could not install$missing" >&2; exit 1; }
}

# need WHY TOOL...: elsewhere; ends with a sentence if a tool is missing.
need() {
    why=$1
    shift
    for tool; do
        command -v "$tool" >/dev/null 2>&1 || { echo "$tool is missing; install $why, then run this again." >&2; exit 1; }
    done
}

setup_build() {
    if command -v dpkg-query >/dev/null 2>&1; then
        install "a C compiler, CMake, Ninja, cJSON and cmocka to build with" \
            gcc libc6-dev cmake ninja-build pkg-config libcjson-dev libcmocka-dev
    else
        need "a C compiler, CMake, Ninja, pkg-config, cJSON and cmocka" cc cmake ninja pkg-config
    fi
}

setup_tests() {
    if command -v dpkg-query >/dev/null 2>&1; then
        install "clang, to build with a second compiler and to fuzz" clang
        install "Chromium and Firefox, for the tests in browsers" chromium firefox-esr
        install "clang's sanitizers" "libclang-rt-$(clang -dumpversion | cut -d. -f1)-dev"
    else
        need "clang with its sanitizers" clang
    fi
}

# quietly COMMAND...: shows what it printed only if it fails, and ends then.
quietly() {
    log=$(mktemp)
    "$@" >"$log" 2>&1 || { cat "$log" >&2; rm -f "$log"; exit 1; }
    rm -f "$log"
}

# build PRESET: configures once and builds.
build() {
    folder=build
    [ "$1" = default ] || folder=build-$1
    [ -f "$folder/build.ninja" ] || quietly cmake --preset "$1"
    quietly cmake --build "$folder"
}

build_wasm() {
    [ -f build-wasm/build.ninja ] || quietly emcmake cmake -S wasm -B build-wasm -G Ninja
    quietly cmake --build build-wasm
}
