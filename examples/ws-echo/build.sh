#!/bin/sh
# A static binary: a provider shows programs nothing of its own machine.
set -eu
cd "$(dirname "$0")"
mkdir -p bin
"${CC:-cc}" -static -O2 -Wall -Wextra -D_GNU_SOURCE -o bin/ws-echo ws-echo.c
