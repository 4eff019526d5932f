#!/usr/bin/env bash
# Fetches Apache Kafka as Maven has it; Maven locks nothing, so the jars are compared with jars.sha256.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/../toolchain.sh"
begin kafka "$(sed -n 's/.*<kafka.version>\(.*\)<.*/\1/p' "$here/pom.xml")" \
  java https://adoptium.net mvn https://maven.apache.org/download.cgi

rm -rf "$to/lib"
step "fetching its jars" mvn -B -q -f "$here/pom.xml" dependency:copy-dependencies -DoutputDirectory="$to/lib"
check() { (cd "$to/lib" && sha256sum --quiet --check "$here/jars.sha256"); }
step "comparing them with their sums" check
# The program: a class of theirs and its arguments, as `kafka kafka.Kafka server.properties`.
cat >"$to/kafka" <<'RUN'
#!/bin/sh
here=$(cd "$(dirname "$0")" && pwd)
exec java -Xms64m -Xmx384m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$here/lib/*" "$@"
RUN
chmod +x "$to/kafka"
done_with "$(ls "$to/lib" | wc -l) jars, $(du -sh "$to/lib" | cut -f1)"
