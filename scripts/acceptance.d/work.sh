# shellcheck shell=bash
# The work itself, for scripts/acceptance. work_TASK POLICY BUCKET does a task
# and checks it; again_TASK, where there is one, checks its files once more
# after the drive was unmounted and mounted.

# size SHORT FULL: the amount for this form.
size() { if [ "$form" = full ]; then echo "$2"; else echo "$1"; fi; }

# facts DIR: type, mode, owner, links, size, mtime and target of everything
# below DIR. The size of a directory is the file system's own business.
facts() {
  (cd "$1" && find . ! -type d -printf '%P\t%y\t%m\t%U:%G\t%n\t%s\t%T@\t%l\n' -o -printf '%P\t%y\t%m\t%U:%G\t%T@\n' | LC_ALL=C sort)
}

# sums DIR: the SHA-256 of every regular file below DIR.
sums() {
  (cd "$1" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum)
}

# attributes DIR: every xattr and ACL below DIR.
attributes() {
  (
    cd "$1"
    find . -print0 | LC_ALL=C sort -z | xargs -0 -r getfattr -h -d -m - -e hex 2>/dev/null
    find . ! -type l -print0 | LC_ALL=C sort -z | xargs -0 -r getfacl -n -s 2>/dev/null
  )
}

# manifest BUCKET: all of it; attributes where there are any.
manifest() {
  local d
  facts "$1"
  sums "$1"
  for d in rsync tar cp; do
    if [ -d "$1/$d" ]; then attributes "$1/$d"; fi
  done
}

# make_material: what the tasks copy from, on the native file system.
make_material() {
  heading 'material'
  local goroot part=(cmd/compile cmd/link cmd/vendor net crypto encoding internal/trace unicode)
  goroot="$(go env GOROOT)"
  # In the short form a few thousand files, large and small, deep and wide.
  if [ "$form" = full ]; then part=(.); fi
  material="$work/material"
  mkdir -p "$material/src"
  tar -C "$goroot/src" -cf - "${part[@]}" | tar -C "$material/src" -xf -
  tar -C "$material/src" --format=posix -cf "$material/src.tar" .
  sums "$material/src" >"$material/src.sums"
  [ "$(wc -l <"$material/src.sums")" -gt 2000 ] || fail 'the Go source tree is not where it should be'
  make_tree "$material/tree"
  echo "$(wc -l <"$material/src.sums") source files, $(find "$material/tree" | wc -l) odd ones"
}

# make_tree DIR: a tree with everything that a copy can lose.
make_tree() {
  local t="$1" i
  mkdir -p "$t/deep/er/and/deeper" "$t/empty" "$t/sticky" "$t/shared"
  for i in $(seq 200); do
    head -c "$((i * 997))" "$material/src.tar" >"$t/deep/file-$i"
  done
  : >"$t/empty-file"
  printf 'x' >"$t/deep/er/and/deeper/$(printf 'n%.0s' $(seq 255))"
  printf 'y' >"$t/ leading space, \"quotes\" and ümlaut"
  printf 'z' >"$t/$(printf 'bad-utf8-\377\376')"
  ln "$t/deep/file-1" "$t/hard link"
  ln "$t/deep/file-1" "$t/deep/er/another"
  ln -s deep/file-2 "$t/symlink"
  ln -s /nowhere/at/all "$t/dangling"
  mkfifo -m 640 "$t/fifo"
  mknod "$t/chardev" c 1 3
  mknod "$t/blockdev" b 7 7
  truncate -s 40M "$t/sparse"
  printf 'island' | dd of="$t/sparse" bs=1 seek=30000000 conv=notrunc status=none
  chmod 4755 "$t/deep/file-3"
  chmod 2750 "$t/shared"
  chmod 1777 "$t/sticky"
  chown 1234:4321 "$t/deep/file-4"
  chown -h 1234:4321 "$t/symlink"
  chmod 0 "$t/deep/file-5"
  setfattr -n user.comment -v 'an attribute' "$t/deep/file-6"
  setfattr -n user.empty "$t/deep/file-6"
  setfattr -n user.binary -v 0x00ff0001 "$t/deep"
  setfattr -n trusted.note -v 'for root only' "$t/deep/file-7"
  setfacl -m u:1234:rw,g:4321:r "$t/deep/file-8"
  setfacl -d -m u:1234:rwx,o::- "$t/shared"
  touch -d '1970-01-02 03:04:05.123456789 UTC' "$t/deep/file-9"
  touch -d '2200-01-01 00:00:00.5 UTC' "$t/deep/file-10"
  touch -h -d '2001-02-03 04:05:06.7 UTC' "$t/symlink"
  touch -d '2002-02-02 02:02:02.000000002 UTC' "$t/empty"
}

# no_difference FROM TO: rsync, comparing everything by content, finds nothing to do.
no_difference() {
  local changes
  changes="$(rsync -aHAX --checksum --delete --dry-run --itemize-changes "$1/" "$2/")"
  [ -z "$changes" ] || fail "rsync finds differences between $1 and $2:
$(head -n 20 <<<"$changes")"
}

work_untar() {
  mkdir "$2/src"
  tar -C "$2/src" -xf "$material/src.tar"
  again_untar "$1" "$2"
  encrypted_as "$1" "$2/src/net/http/server.go"
}
again_untar() {
  sums "$2/src" >"$work/sums"
  same "$material/src.sums" "$work/sums"
  facts "$material/src" >"$work/facts.want"
  facts "$2/src" >"$work/facts.got"
  same "$work/facts.want" "$work/facts.got"
  echo "$(wc -l <"$work/sums") files have the right sums, owners, modes and times"
}

# The modules come from this machine's own module cache, so that the drive's
# one is filled by the go command without a network.
work_build() {
  local dir="$2/program" import=github.com/cespare/xxhash/v2 call='xxhash.Sum64(nil)'
  # The long form builds what needs many modules.
  if [ "$form" = full ]; then import=github.com/dgraph-io/badger/v4 call='badger.DefaultOptions("").NumCompactors'; fi
  mkdir -p "$dir" "$2/go-tmp"
  (cd "$here/.." && go mod download)
  # The same pinned versions as ours.
  sed '1s/.*/module example/' "$here/../go.mod" >"$dir/go.mod"
  cp "$here/../go.sum" "$dir/go.sum"
  cat >"$dir/main.go" <<GO
// The program sums what it reads and says what it found.
package main

import (
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"$import"
)

func main() {
	h := crc32.NewIEEE()
	n, err := io.Copy(h, os.Stdin)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(n, h.Sum32(), $call)
}
GO
  # What it has to say, from a build that never saw the drive.
  mkdir -p "$work/program"
  cp "$dir/main.go" "$dir/go.mod" "$dir/go.sum" "$work/program/"
  (cd "$work/program" && GOFLAGS=-mod=mod GOWORK=off CGO_ENABLED=0 go build -o program . && ./program <"$material/src.tar" >"$work/program.said")
  again_build "$1" "$2"
  if [ "$form" = full ]; then
    (on_drive_go "$2" && cd "$dir" && go build -o "$2/program/gofmt" cmd/gofmt && "$2/program/gofmt" -l "$2/src/sort")
  fi
}
# on_drive_go BUCKET: points the go command's caches at the bucket.
on_drive_go() {
  # The download directory of the machine's own cache has the layout of a proxy.
  GOPROXY="file://$(go env GOMODCACHE)/cache/download"
  GOCACHE="$1/go-cache" GOPATH="$1/go-path" GOMODCACHE="$1/go-path/pkg/mod" GOTMPDIR="$1/go-tmp"
  GOFLAGS=-mod=mod GONOSUMDB='*' GONOSUMCHECK=1 GOSUMDB=off GOTOOLCHAIN=local GOWORK=off CGO_ENABLED=0
  export GOPROXY GOCACHE GOPATH GOMODCACHE GOTMPDIR GOFLAGS GONOSUMDB GONOSUMCHECK GOSUMDB GOTOOLCHAIN GOWORK CGO_ENABLED
}
again_build() {
  (on_drive_go "$2" && cd "$2/program" && go build -o program . && go mod verify) >"$work/build.out" 2>&1 || {
    cat "$work/build.out" >&2
    fail 'the go command failed on the drive'
  }
  "$2/program/program" <"$material/src.tar" >"$work/said"
  same "$work/program.said" "$work/said"
  echo "built and run; $(find "$2/go-cache" "$2/go-path" -type f | wc -l) files in the caches"
}

on_drive_git() {
  GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null GIT_CONFIG_NOSYSTEM=1
  # No upkeep in the background, which would work on what is being looked at.
  GIT_CONFIG_COUNT=2 GIT_CONFIG_KEY_0=gc.auto GIT_CONFIG_VALUE_0=0 GIT_CONFIG_KEY_1=maintenance.auto GIT_CONFIG_VALUE_1=false
  GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org
  export GIT_CONFIG_COUNT GIT_CONFIG_KEY_0 GIT_CONFIG_VALUE_0 GIT_CONFIG_KEY_1 GIT_CONFIG_VALUE_1
  export GIT_CONFIG_GLOBAL GIT_CONFIG_SYSTEM GIT_CONFIG_NOSYSTEM
  export GIT_AUTHOR_NAME GIT_AUTHOR_EMAIL GIT_COMMITTER_NAME GIT_COMMITTER_EMAIL
}
work_git() (
  on_drive_git
  repo="$2/repo"
  mkdir "$repo"
  part=(./net ./crypto)
  if [ "$form" = full ]; then part=(.); fi
  tar -C "$repo" -xf "$material/src.tar" "${part[@]}"
  git -C "$repo" init -q -b main
  git -C "$repo" -c core.fsync=all add -A
  git -C "$repo" commit -q -m 'all of it'
  for i in 1 2 3 4 5; do
    echo "// change $i" >>"$repo/net/http/server.go"
    git -C "$repo" mv "net/ip.go" "net/ip-$i.go"
    git -C "$repo" commit -q -a -m "change $i"
    git -C "$repo" mv "net/ip-$i.go" "net/ip.go"
  done
  git -C "$repo" commit -q -a -m 'moved back'
  git -C "$repo" branch side HEAD~3
  git -C "$repo" switch -q side
  git -C "$repo" switch -q main
  git -C "$repo" fsck --full --strict --no-progress
  git clone -q "file://$repo" "$2/clone"
  git clone -q --local "$repo" "$2/local-clone"
  git -C "$repo" gc -q --prune=now
  again_git "$1" "$2"
)
again_git() (
  on_drive_git
  for r in repo clone local-clone; do
    git -C "$2/$r" fsck --full --strict --no-progress
    [ -z "$(git -C "$2/$r" status --porcelain)" ] || fail "git status of $r is not clean"
  done
  [ "$(git -C "$2/clone" rev-parse 'HEAD^{tree}')" = "$(git -C "$2/repo" rev-parse 'HEAD^{tree}')" ]
  echo "$(git -C "$2/repo" rev-list --count HEAD) commits in three repositories, fsck clean"
)

# Two processes write at once, each transaction durable; every one must be there.
work_sqlite() {
  local mode n who
  mkdir "$2/sqlite"
  for mode in wal delete; do
    if [ "$mode" = wal ]; then n="$(size 1500 10000)"; else n="$(size 400 4000)"; fi
    local db="$2/sqlite/$mode.db"
    sqlite3 "$db" "PRAGMA journal_mode=$mode; CREATE TABLE t(who TEXT, n INTEGER, data BLOB); CREATE INDEX i ON t(who, n);" >/dev/null
    for who in a b; do
      {
        echo '.timeout 120000'
        echo 'PRAGMA synchronous=FULL;'
        for i in $(seq "$n"); do
          echo "BEGIN IMMEDIATE; INSERT INTO t VALUES('$who', $i, randomblob(200)); UPDATE t SET data=randomblob(300) WHERE who='$who' AND n=$i/2; COMMIT;"
        done
      } >"$work/$who.sql"
    done
    sqlite3 -bail "$db" <"$work/a.sql" &
    local first=$!
    sqlite3 -bail "$db" <"$work/b.sql"
    wait "$first"
    echo "$n" >"$work/sqlite-$mode.n"
  done
  again_sqlite "$1" "$2"
}
again_sqlite() {
  local mode n got
  for mode in wal delete; do
    n="$(cat "$work/sqlite-$mode.n")"
    got="$(sqlite3 "$2/sqlite/$mode.db" 'PRAGMA integrity_check; SELECT who, count(*), max(n) FROM t GROUP BY who ORDER BY who;' | tr '\n' ' ')"
    [ "$got" = "ok a|$n|$n b|$n|$n " ] || fail "sqlite $mode says: $got"
    echo "$mode: 2 x $n transactions, integrity_check ok"
  done
}

work_rsync() {
  rsync -aHAX --checksum "$material/tree/" "$2/rsync/"
  again_rsync "$1" "$2"
  # An update: rsync rewrites a file, removes one, adds one.
  local changed="$work/changed"
  rm -rf "$changed"
  cp -a "$material/tree" "$changed"
  head -c 5000000 "$material/src.tar" >>"$changed/deep/file-20"
  rm "$changed/deep/file-21"
  echo new >"$changed/deep/new"
  rsync -aHAX --checksum --delete "$changed/" "$2/rsync/"
  no_difference "$changed" "$2/rsync"
  rsync -aHAX --checksum --delete --inplace --no-whole-file "$material/tree/" "$2/rsync/"
  no_difference "$material/tree" "$2/rsync"
}
again_rsync() {
  no_difference "$material/tree" "$2/rsync"
  rm -rf "$work/back"
  rsync -aHAX --checksum "$2/rsync/" "$work/back/"
  no_difference "$material/tree" "$work/back"
  attributes "$material/tree" >"$work/attributes.want"
  attributes "$2/rsync" >"$work/attributes.got"
  same "$work/attributes.want" "$work/attributes.got"
  echo 'in and out without a difference'
}

work_tar() {
  local all=(--xattrs '--xattrs-include=*' --acls --sparse --numeric-owner --warning=no-timestamp)
  tar -C "$material/tree" "${all[@]}" -cf "$work/tree.tar" .
  mkdir "$2/tar"
  tar -C "$2/tar" "${all[@]}" -xpf "$work/tree.tar"
  again_tar "$1" "$2"
  cp -a "$2/tar" "$2/cp"
  no_difference "$material/tree" "$2/cp"
}
again_tar() {
  local all=(--xattrs '--xattrs-include=*' --acls --sparse --numeric-owner --warning=no-timestamp)
  no_difference "$material/tree" "$2/tar"
  rm -rf "$work/untarred"
  mkdir "$work/untarred"
  tar -C "$2/tar" "${all[@]}" -cf - . | tar -C "$work/untarred" "${all[@]}" -xpf -
  no_difference "$material/tree" "$work/untarred"
  echo 'round trip without a difference'
}

# Write a temporary file, fsync it, rename it over the document; and the older
# way, with a backup. A reader never sees an empty or torn document.
work_editor() {
  local dir="$2/editor" i n
  n="$(size 150 2000)"
  mkdir "$dir"
  page() { local j; for j in 1 2 3 4 5 6 7 8; do printf 'version %d, line %d, %0900d\n' "$1" "$j" "$1"; done; }
  page 0 >"$dir/document"
  (
    while [ ! -e "$work/editor-done" ]; do
      awk '{ if (v == "") v = $2; if ($2 != v) bad = 1 } END { exit bad || NR != 8 }' "$dir/document" || exit 1
    done
  ) &
  local reader=$!
  for i in $(seq "$n"); do
    page "$i" >"$dir/.document.tmp"
    sync "$dir/.document.tmp"
    mv "$dir/.document.tmp" "$dir/document"
  done
  : >"$work/editor-done"
  wait "$reader" || fail 'a reader saw a torn document'
  rm "$work/editor-done"
  for i in $(seq 20); do
    rm -f "$dir/document~"
    mv "$dir/document" "$dir/document~"
    page "$((n + i))" >"$dir/document"
    sync "$dir/document" "$dir"
  done
  page "$((n + 20))" >"$work/page"
  same "$work/page" "$dir/document"
  page "$((n + 19))" >"$work/page"
  same "$work/page" "$dir/document~"
  [ "$(find "$dir" -type f | wc -l)" -eq 2 ] || fail 'the editor left something behind'
  echo "$n saves"
}
