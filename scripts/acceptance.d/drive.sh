# shellcheck shell=bash
# The drive under test, for scripts/acceptance: build, mount, remount, kill,
# check, and leave nothing behind. Uses $work, $native and $keep; sets $root,
# the directory that holds the buckets.

heading() { printf '\n-- %s (%ds)\n' "$1" "$SECONDS"; }

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

failed_at() {
  echo "FAILED at ${1##*/}:$2: $3" >&2
}

require_tools() {
  local t missing=()
  for t in go git tar rsync sqlite3 setfattr getfattr setfacl getfacl sha256sum mkfifo; do
    command -v "$t" >/dev/null || missing+=("$t")
  done
  [ "${#missing[@]}" -eq 0 ] || fail "missing tools: ${missing[*]}"
  [ "$(id -u)" -eq 0 ] || fail 'needs root: owners, devices and trusted xattrs are part of the work'
  [ -n "$native" ] || [ -c /dev/fuse ] || fail 'no /dev/fuse: there is no FUSE on this machine'
}

open_drive() {
  if [ -n "$native" ]; then
    root="$(mktemp -d "$native/ssefs-acceptance-native-XXXXXX")"
    return
  fi
  store="$work/store"
  root="$work/drive"
  key="$work/key"
  log="$work/log"
  bin="${SSEFS_BIN:-$work/ssefs}"
  if [ -z "${SSEFS_BIN:-}" ]; then
    (cd "$here/.." && go build -o "$bin" ./cmd/ssefs)
  fi
  mkdir "$root"
  mount_drive --create
}

mount_drive() {
  "$bin" mount "$store" "$root" --key-file "$key" --log-file "$log" -o allow_other "$@" </dev/null
  mounted || fail 'ssefs mount returned, but nothing is mounted'
}

mounted() { grep -qF " $root fuse.ssefs " /proc/mounts; }

# daemon_pid: the process that serves the store, from the store's lock file.
daemon_pid() {
  sed -n 's/.*"pid": *\([0-9][0-9]*\).*/\1/p' "$store/lock" | head -n 1
}

close_drive() {
  [ -z "$native" ] || return 0
  "$bin" umount "$root"
  if mounted; then fail 'ssefs umount returned, but the drive is still mounted'; fi
}

remount() {
  [ -z "$native" ] || return 0
  close_drive
  mount_drive
}

# kill_daemon: as a crash would, and the dead mount taken away.
kill_daemon() {
  local pid
  pid="$(daemon_pid)"
  [ -n "$pid" ] || fail 'no pid in the lock file'
  kill -KILL "$pid"
  while [ -e "/proc/$pid" ] && ! grep -q '^State:[[:space:]]*Z' "/proc/$pid/status" 2>/dev/null; do sleep 0.01; done
  if mounted; then umount -l "$root"; fi
}

check_store() {
  [ -z "$native" ] || return 0
  "$bin" fsck "$store" --data --key-file "$key" </dev/null
}

# make_bucket POLICY: makes the bucket b-POLICY and prints its path.
make_bucket() {
  local dir="$root/b-$1"
  if [ -n "$native" ]; then
    mkdir "$dir"
  else
    "$bin" bucket create "b-$1" --sse "$1" --store "$store" >/dev/null
  fi
  printf '%s\n' "$dir"
}

# encrypted_as POLICY FILE: the file says that it is stored as the policy wants.
encrypted_as() {
  [ -z "$native" ] || return 0
  local got
  got="$(getfattr --absolute-names --only-values -n user.sse.algorithm "$2")"
  [ "$got" = "$1" ] || fail "$2: user.sse.algorithm is $got, not $1"
}

# same FILE FILE: fails, showing how they begin to differ.
same() {
  cmp -s "$1" "$2" || {
    diff "$1" "$2" | head -n 20 >&2 || true
    fail "$1 and $2 differ"
  }
}

clean_up() {
  local pid
  cd /
  set +e
  trap - ERR
  # Writers that a failed test left running would keep the drive busy.
  for pid in $(jobs -p); do kill "$pid" 2>/dev/null; done
  wait 2>/dev/null
  if [ -z "$native" ] && [ -n "${store:-}" ]; then
    if mounted; then "$bin" umount "$root" || umount -l "$root"; fi
    # A daemon that still serves this run's own store is ended by its pid.
    for pid in $(grep -lF "$store" /proc/[0-9]*/cmdline 2>/dev/null | grep -oE '[0-9]+'); do
      if [ "$pid" != $$ ] && [ "$(readlink "/proc/$pid/exe")" = "$(readlink -f "$bin")" ]; then
        echo "a daemon was left behind: killing $pid" >&2
        kill -KILL "$pid"
      fi
    done
    if [ "$rc" -ne 0 ] && [ -s "$log" ]; then
      echo '-- end of the daemon log' >&2
      tail -n 40 "$log" >&2
    fi
  fi
  if [ -n "$keep" ]; then
    echo "kept: $work${native:+ $root}"
    return
  fi
  [ -z "$native" ] || rm -rf "$root"
  # Module caches are read-only directories; never follow into a mount.
  rm -rf --one-file-system "$work"
}
