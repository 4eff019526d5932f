#!/usr/bin/env bash
# Builds the pinned neighbours into .peers/, each once, with the ordinary package clients.
# usage: fetch.sh [collector]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
peers=$here/../../.peers
version=v0.155.0
mkdir -p "$peers"
peers=$(cd "$peers" && pwd)

collector() {
  if [ -x "$peers/otelcol-$version" ]; then echo "collector $version: there"; return; fi
  if ! command -v go >/dev/null; then
    echo "collector $version: skipped, no go on this machine (https://go.dev/doc/install)"; return
  fi
  echo "collector $version: building (about a minute)"
  GOBIN=$peers/bin go install "go.opentelemetry.io/collector/cmd/builder@$version"
  rm -rf "$peers/collector" && cp "$here/collector.yaml" "$peers/builder.yaml"
  (cd "$peers" && bin/builder --config builder.yaml --skip-compilation --skip-get-modules >builder.log 2>&1)
  # The builder leaves go.mod to `go mod tidy`, which would ask for test dependencies too.
  {
    echo "module doppelspan.example/otelcol"
    echo "go 1.25"
    sed -n 's/^ *- gomod: /require /p' "$here/collector.yaml"
    # What the generated main.go imports beside them; unnamed, the newest would be taken.
    for module in component confmap exporter extension processor receiver; do
      echo "require go.opentelemetry.io/collector/$module v1.61.0"
    done
    for module in connector otelcol service; do
      echo "require go.opentelemetry.io/collector/$module $version"
    done
  } >"$peers/collector/go.mod"
  (cd "$peers/collector" && go build -mod=mod -o "$peers/otelcol-$version" . >>"$peers/builder.log" 2>&1) \
    || { tail -n 20 "$peers/builder.log"; return 1; }
  ln -sf "otelcol-$version" "$peers/otelcol"
  echo "collector $version: $("$peers/otelcol" --version)"
}

for peer in "${@:-collector}"; do "$peer"; done
