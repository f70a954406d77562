#!/bin/sh
# Builds each .c file here as a WASI command. Needs clang, lld, wasi-libc and libclang-rt-dev-wasm32 (Debian's names).
set -eu
cd "$(dirname "$0")"
for source in *.c; do
  clang --target=wasm32-wasi -Os -Wall -Wextra -Wl,--strip-all -Wl,-z,stack-size=1048576 \
    -o "${1:-.}/${source%.c}.wasm" "$source"
done
