#!/usr/bin/env bash
# Builds the OpenTelemetry Collector of builder.yaml, from the modules that go.sum locks.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/../toolchain.sh"
begin collector "v$(sed -n 's/^  version: //p' "$here/builder.yaml")" go https://go.dev/doc/install

export GOBIN=$to/bin
step "fetching its builder" go install "go.opentelemetry.io/collector/cmd/builder@$version"
rm -rf "$to/source" && cp "$here/builder.yaml" "$to/"
generate() { cd "$to" && bin/builder --config builder.yaml --skip-compilation --skip-get-modules; }
step "writing its sources" generate
# The builder would ask `go mod tidy` for a go.mod, and that for the newest of everything.
cp "$here/go.mod" "$here/go.sum" "$to/source/"
step "building (about a minute)" go_build .
done_with "$("$to/collector" --version)"
