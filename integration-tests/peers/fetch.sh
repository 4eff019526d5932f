#!/usr/bin/env bash
# Fetches or builds the pinned neighbours into .peers/, each once; README.md says what they are.
# usage: fetch.sh [NAME]...   (all of them, without a name)
set -euo pipefail
cd "$(dirname "$0")"
if [ $# -eq 0 ]; then
  for script in */fetch.sh; do set -- "$@" "${script%/fetch.sh}"; done
fi
failed=()
for peer in "$@"; do "$peer/fetch.sh" || failed+=("$peer"); done
if [ ${#failed[@]} -gt 0 ]; then
  echo "could not be had: ${failed[*]}" >&2
  exit 1
fi
