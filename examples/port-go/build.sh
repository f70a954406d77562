#!/bin/sh
# Static binaries, the same bytes on every machine with the same Go.
set -e
cd "$(dirname "$0")"
export CGO_ENABLED=0 GOTOOLCHAIN=local GOWORK=off GOFLAGS=-trimpath
go build -buildvcs=false -ldflags='-s -w -buildid=' -o bin/ ./sample ./cgi
