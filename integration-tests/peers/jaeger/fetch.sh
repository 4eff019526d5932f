#!/usr/bin/env bash
# Builds Jaeger all-in-one (OTLP in, memory storage, query API) from the modules that go.sum locks.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/../toolchain.sh"
package=github.com/jaegertracing/jaeger
begin jaeger "$(sed -n "s|^require $package ||p" "$here/go.mod")" go https://go.dev/doc/install

mkdir -p "$to/source" && cp "$here/go.mod" "$here/go.sum" "$to/source/"
step "building (about three minutes)" go_build "$package/cmd/all-in-one"
done_with "$(go version -m "$to/jaeger" | awk '$1 == "mod" {print $2, $4}')"
