#!/bin/sh
# Needs, by their names in Debian: clang lld wasi-libc libclang-rt-dev-wasm32 libstb-dev
set -eu
cd "$(dirname "$0")"
# The headers of stb are all that is wanted of the system's: its C library is another one.
headers=$(mktemp -d)
trap 'rm -rf "$headers"' EXIT
ln -s "${STB:-/usr/include/stb}" "$headers/stb"
clang --target=wasm32-wasi -O2 -Wall -Wl,--strip-all -Wl,-z,stack-size=1048576 -isystem "$headers" \
  -o "${1:-thumbnail.wasm}" thumbnail.c
