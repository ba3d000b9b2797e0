# setup.sh - sourced by start.sh and test.sh: installs the Debian packages that the build needs, if any is missing.
# Elsewhere it says what to install. Builds nothing.
packages="gcc libc6-dev cmake ninja-build pkg-config libcjson-dev libcmocka-dev"
missing=""
if command -v dpkg-query >/dev/null 2>&1; then
    for package in $packages; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q ' installed$' || missing="$missing $package"
    done
    if [ -n "$missing" ]; then
        echo "Installing what the build needs (compiler, CMake, Ninja, cJSON, cmocka):$missing"
        root=""
        if [ "$(id -u)" != 0 ]; then
            command -v sudo >/dev/null 2>&1 || { echo "Neither root nor sudo: install$missing by hand." >&2; exit 1; }
            root="sudo"
        fi
        $root env DEBIAN_FRONTEND=noninteractive apt-get update -qq &&
            $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null ||
            { echo "apt-get could not install$missing" >&2; exit 1; }
    fi
else
    for tool in cc cmake ninja pkg-config; do
        command -v $tool >/dev/null 2>&1 || missing="$missing $tool"
    done
    if [ -n "$missing" ]; then
        echo "Missing:$missing. Install a C compiler, CMake, Ninja, pkg-config, cJSON and cmocka, then run this again." >&2
        exit 1
    fi
fi

# build FOLDER [CMAKE OPTION...]: configures once and builds; quiet unless it fails.
build() {
    folder=$1
    shift
    log=$(mktemp)
    if { [ -f "$folder/build.ninja" ] || cmake -B "$folder" -G Ninja "$@"; } >"$log" 2>&1 &&
        cmake --build "$folder" >>"$log" 2>&1; then
        rm -f "$log"
    else
        cat "$log" >&2
        rm -f "$log"
        exit 1
    fi
}
