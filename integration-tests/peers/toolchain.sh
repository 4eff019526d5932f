# What every fetch.sh shares; read in with `source`, after `here` was set to the peer's folder.
#
#   begin NAME VERSION [COMMAND ADDRESS]...   ends the script when the peer is there, or when one of
#                                             the commands is not (a line says where it is had)
#   go_build PACKAGE                          builds what the peer's go.mod and go.sum pin into $to/$name
#   done_with LINE                            notes that the peer is there, as its folder describes it

root=$(cd "$here/../../.." && pwd)

# Changes with every file that says what the peer is and how it is had.
described() {
  (cd "$here" && find . -type f | LC_ALL=C sort | xargs sha256sum | sha256sum | cut -d' ' -f1)
}

begin() {
  name=$1 version=$2 started=$SECONDS
  shift 2
  # Where it lies, and a folder for what is needed while it is built.
  to=$root/.peers/$name
  if [ "$(cat "$to/.done" 2>/dev/null)" = "$(described)" ]; then
    echo "$name $version: there"
    exit 0
  fi
  while [ $# -gt 0 ]; do
    if ! command -v "$1" >/dev/null; then
      echo "$name $version: SKIPPED, there is no \`$1\` on this machine ($2); the tests that need it will say so"
      exit 0
    fi
    shift 2
  done
  mkdir -p "$to"
  rm -f "$to/.done"
}

# Runs a step and shows what it said only if it fails.
step() {
  echo "$name $version: $1"
  shift
  "$@" >"$to/log" 2>&1 || { tail -n 30 "$to/log"; echo "$name $version: FAILED: $*"; exit 1; }
}

# The sums of every module stand in go.sum: another one than was locked is an error.
go_build() {
  (cd "$to/source" && CGO_ENABLED=0 GOWORK=off go build -mod=readonly -trimpath -ldflags "-s -w" -o "$to/$name" "$1")
}

done_with() {
  rm -rf "$to/source" "$to/log"
  described >"$to/.done"
  echo "$name $version: $1, $((SECONDS - started)) s"
}
