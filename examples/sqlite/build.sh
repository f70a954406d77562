#!/bin/sh
# Needs clang, lld, wasi-libc and libclang-rt-dev-wasm32 (their names in Debian), and npm for SQLite's own source.
set -eu
cd "$(dirname "$0")"
output=$(realpath -m "${1:-query.wasm}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The package brings SQLite as its authors publish it, in one file.
(cd "$work" && npm pack --silent better-sqlite3@12.11.1 >/dev/null && tar xzf ./*.tgz)
clang --target=wasm32-wasi -Os -Wl,--strip-all -Wl,-z,stack-size=1048576 -I "$work/package/deps/sqlite3" \
  -DSQLITE_THREADSAFE=0 -DSQLITE_OMIT_WAL -DSQLITE_OMIT_LOAD_EXTENSION -DSQLITE_OMIT_DEPRECATED -DSQLITE_DQS=0 \
  -DSQLITE_DEFAULT_MEMSTATUS=0 -DSQLITE_TEMP_STORE=3 -o "$output" query.c "$work/package/deps/sqlite3/sqlite3.c"
