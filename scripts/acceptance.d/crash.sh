# shellcheck shell=bash
# kill -9 under load, for scripts/acceptance: what was acknowledged is there
# after the next mount, and the store is clean.

# crash_rounds N: N times, three writers work until the daemon is killed at a
# random moment; the acknowledgements they noted outside of the drive are then
# compared with what the drive holds.
crash_rounds() {
  local round policy acked total=0
  crash_buckets=()
  for policy in $policies; do
    [ -d "$root/b-$policy" ] || make_bucket "$policy" >/dev/null
    crash_buckets+=("b-$policy")
  done
  mkdir "$work/acked"
  for round in $(seq "$1"); do
    local b="${crash_buckets[$((round % ${#crash_buckets[@]}))]}"
    local dir="$root/$b/crash-$round"
    mkdir -p "$dir/files"
    sqlite3 "$dir/db" 'PRAGMA journal_mode=wal; CREATE TABLE t(n INTEGER PRIMARY KEY, data BLOB);' >/dev/null
    printf '0\n' >"$dir/document"
    sync "$dir/document" "$dir" "$root/$b"
    crash_writers "$dir" "$work/acked/$round"
    # Not before something was acknowledged, which on a busy disk takes long.
    until [ -s "$work/acked/$round/files" ] || [ -s "$work/acked/$round/db" ]; do
      kill -0 "${writers[@]}" 2>/dev/null || fail "the writers ended before the kill in round $round"
      sleep 0.05
    done
    sleep "$((RANDOM % 3)).$((RANDOM % 10))"
    kill_daemon
    wait "${writers[@]}" 2>/dev/null || true
    mount_drive
    acked="$(crash_verify "$dir" "$work/acked/$round")"
    total=$((total + acked))
    close_drive
    check_store >"$work/fsck.out" || { cat "$work/fsck.out"; fail "fsck after crash $round"; }
    mount_drive
  done
  [ "$total" -gt 0 ] || fail 'nothing was acknowledged in any round: the test proves nothing'
  echo "$1 kills, $total acknowledged changes, none lost"
}

# crash_writers DIR ACK: starts the writers; sets $writers. Each notes in a
# file beyond the drive what has been acknowledged, after it was.
crash_writers() {
  local dir="$1" ack="$2"
  mkdir "$ack"
  (
    trap - ERR
    set +eE
    for i in $(seq 100000); do
      head -c "$((RANDOM * 40 % 300000 + 1))" /dev/urandom >"$ack/content" || exit
      cp "$ack/content" "$dir/files/$i" 2>/dev/null && sync "$dir/files/$i" "$dir/files" 2>/dev/null || exit
      echo "$(sha256sum <"$ack/content" | cut -d ' ' -f 1)  $i" >>"$ack/files"
    done
  ) &
  writers=($!)
  (
    trap - ERR
    set +eE
    for i in $(seq 100000); do
      [ "$(sqlite3 -bail "$dir/db" "PRAGMA synchronous=FULL; INSERT INTO t VALUES($i, randomblob(3000)); SELECT changes();" 2>/dev/null)" = 1 ] || exit
      echo "$i" >"$ack/db.new" && mv "$ack/db.new" "$ack/db"
    done
  ) &
  writers+=($!)
  (
    trap - ERR
    set +eE
    for i in $(seq 100000); do
      seq "$i" "$((i + 2000))" >"$dir/document.tmp" 2>/dev/null || exit
      # Renamed without any sync: may be lost, must never be empty or torn.
      mv "$dir/document.tmp" "$dir/document" 2>/dev/null || exit
    done
  ) &
  writers+=($!)
}

# crash_verify DIR ACK: compares and prints the number of acknowledgements.
crash_verify() {
  local dir="$1" ack="$2" files=0 rows=0 got first
  if [ -s "$ack/files" ]; then
    (cd "$dir/files" && sha256sum --quiet -c "$ack/files") >&2 || fail "synced files were lost or changed in $dir"
    files="$(wc -l <"$ack/files")"
  fi
  if [ -s "$ack/db" ]; then rows="$(cat "$ack/db")"; fi
  got="$(sqlite3 "$dir/db" 'PRAGMA integrity_check; SELECT count(*), coalesce(max(n), 0) FROM t;' | tr '\n' ' ')"
  case "$got" in
    "ok $rows|$rows " | "ok $((rows + 1))|$((rows + 1)) ") ;;
    *) fail "sqlite in $dir: $rows rows acknowledged, but it says: $got" ;;
  esac
  first="$(head -n 1 "$dir/document")"
  if [ "$first" != 0 ]; then
    seq "$first" "$((first + 2000))" | cmp - "$dir/document" >&2 || fail "$dir/document is torn"
  fi
  echo "$((files + rows))"
}
