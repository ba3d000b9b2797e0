#!/bin/sh
# wasm_setup.sh - what the WebAssembly build needs besides the native one: Emscripten, and the source of cJSON in
# build-cjson/. Does nothing where all is there. Needs a network once, and Debian or a relative; elsewhere, install
# emcc and put cJSON.c and cJSON.h (1.7.15 or newer) into build-cjson/cjson/ by hand.
set -eu
cd "$(dirname "$0")/.."
. tools/setup.sh

if command -v dpkg-query >/dev/null 2>&1; then
    install "Emscripten, to build the WebAssembly modules" emscripten
else
    need "Emscripten 3.1.6 or newer" emcc
fi

# Debian ships cJSON compiled for its own machines only. apt checks the source down to the SHA-256 of each file, from
# the archive's signature on; the sums below say whether it is the source that was tested.
fetch_cjson() {
    install "dpkg-dev, to unpack the source of cJSON" dpkg-dev
    echo "Fetching the source of cJSON"
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    chmod 755 "$folder"
    mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial"
    # The archives that the system already uses, with lists of our own: the system's stay as they are, and root is not
    # needed.
    apt-get indextargets --format 'deb-src [signed-by=$(SIGNED_BY)] $(REPO_URI) $(CODENAME) $(COMPONENT)' \
        'Created-By: Packages' | sed 's/\[signed-by=\($(SIGNED_BY)\)\{0,1\}\] //' | sort -u >"$folder/sources.list"
    apt() {
        apt-get -qq -o Dir::Etc::SourceList="$folder/sources.list" -o Dir::Etc::SourceParts=- \
            -o Dir::State::Lists="$folder/lists" -o Dir::Cache="$folder/cache" -o APT::Sandbox::User="$(id -un)" "$@"
    }
    apt update
    (cd "$folder" && apt source cjson >/dev/null)
    mkdir -p build-cjson/cjson
    cp "$folder"/cjson-*/cJSON.h "$folder"/cjson-*/cJSON.c build-cjson/cjson/
    (cd build-cjson/cjson && sha256sum --check --status) <<'SUMS' || echo "Another cJSON than the tested 1.7.15-1+deb12u4."
5c5ab83a24eecfebc25b6aa4d47dbdb5f23d1baec92de75fec5f0528dbe255a7  cJSON.c
c25b54ebc98e814eb7b3eeaf12ce899806f87ff5a275b20a3b77dbb3968e5d0b  cJSON.h
SUMS
}
if [ ! -f build-cjson/cjson/cJSON.c ]; then
    command -v apt-get >/dev/null 2>&1 || {
        echo "Put cJSON.c and cJSON.h (1.7.15 or newer) into build-cjson/cjson/." >&2
        exit 1
    }
    fetch_cjson
fi

# Emscripten before 3.1.38 cannot write relaxed SIMD; Binaryen's tools put it in after the link, and make the modules
# smaller than the older ones in Emscripten do.
if [ ! -f build-binaryen/node_modules/binaryen/bin/wasm-merge ]; then
    echo "Fetching Binaryen"
    mkdir -p build-binaryen
    npm install --prefix build-binaryen --no-save --no-audit --no-fund --silent binaryen@123.0.0
fi
