#!/usr/bin/env bash
# Fetches Rotel, whose wheel holds a binary; pip compares the wheel with the hashes of requirements.txt.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/../toolchain.sh"
python=${PYTHON:-python3}
begin rotel "$(sed -n 's/^rotel==\([^ ]*\).*/\1/p' "$here/requirements.txt")" "$python" https://www.python.org/downloads
case $(uname -sm) in
  "Linux x86_64") ;;
  *) echo "rotel $version: SKIPPED, its wheels are for Linux on x86-64; the benchmark will say so"; exit 0 ;;
esac

fetch() {
  "$python" -m venv "$to/venv" && "$to/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps \
    --only-binary :all: --require-hashes --requirement "$here/requirements.txt"
}
step "fetching its wheel" fetch
ln -sf "$(cd "$to" && echo venv/lib/python3*/site-packages/rotel/rotel-agent)" "$to/rotel"
done_with "$("$to/rotel" --version)"
