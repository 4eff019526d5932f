#!/usr/bin/env bash
# Builds telemetrygen from the modules that go.sum locks.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/../toolchain.sh"
package=github.com/open-telemetry/opentelemetry-collector-contrib/cmd/telemetrygen
begin telemetrygen "$(sed -n "s|.*$package ||p" "$here/go.mod")" go https://go.dev/doc/install

mkdir -p "$to/source" && cp "$here/go.mod" "$here/go.sum" "$to/source/"
step "building (about 15 seconds)" go_build "$package"
done_with "$(go version -m "$to/telemetrygen" | awk '$1 == "mod" {print $2, $4}')"
