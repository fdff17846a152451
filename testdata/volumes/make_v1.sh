#!/bin/bash
# Makes three volumes of format version 1, each with its key file and passphrase and a list of what is in it: v1, which was
# unmounted, v1-crashed, whose daemon was killed at work, and v1-journal, whose last commits are in the journal. The ones beside this script are frozen: every later version
# has to read them. Run this (as root, with an ssefs of format version 1) to make others like them, not to replace them.
#
#     make_v1.sh SSEFS DIRECTORY
set -euo pipefail

ssefs=$(realpath "$1")
out=$(realpath "$2")
here=$(dirname "$(realpath "$0")")
work=$(mktemp -d)
finish() {
	if mountpoint -q "$work/drive"; then "$ssefs" umount "$work/drive"; fi
	rm -rf "$work"
}
trap finish EXIT
umask 022
mkdir "$work/drive"
cd "$work"

mount() { "$ssefs" mount store drive --key-file key --log-file log "$@"; }

contents() { python3 "$here/make_v1.py" "$@"; }

# make PART makes a volume with the contents named PART and leaves it mounted.
make() {
	rm -rf store key contents.json
	mount --create --region frozen-1 --default-policy AES256
	"$ssefs" key add --store store --new-passphrase-file passphrase --label 'a "passphrase"'
	local key
	key=$("$ssefs" kms create --store store --description 'the frozen one' --json |
		python3 -c 'import json, sys; print(json.load(sys.stdin)["id"])')
	"$ssefs" kms alias create alias/frozen "$key" --store store
	"$ssefs" bucket create none --sse none --store store
	"$ssefs" bucket create aes --sse AES256 --store store
	"$ssefs" bucket create kms --sse KMS --key-id alias/frozen --store store
	contents "$1" drive contents.json
}

# list STORE NAME writes the list of what is in a store.
list() {
	"$ssefs" mount "$1" drive --key-file key --log-file log -o ro
	contents list drive contents.json >"$2.json"
	"$ssefs" umount drive
}

# pack NAME packs the store, without what is only of interest to a running daemon.
pack() {
	rm -f store/ballast
	: >store/lock
	tar --sparse --sort=name --owner=0 --group=0 --numeric-owner --mtime='2000-01-01 UTC' -cf - store key passphrase |
		gzip -9n >"$1.tar.gz"
	cp "$1.tar.gz" "$1.json" "$out/"
	ls -l "$out/$1.tar.gz" "$out/$1.json"
}

printf 'correct horse battery staple\n' >passphrase
chmod 600 passphrase

make whole
"$ssefs" umount drive
# A slot that came and went.
"$ssefs" key add --store store --key-file key --new-key-file gone
"$ssefs" key remove 3 --store store --key-file key
"$ssefs" fsck --data store --key-file key
list store v1
pack v1

# crash makes a volume and kills its daemon while it stores data ahead of an epoch, and an unnamed file is open. It fails
# if the kill came too early or too late.
crash() {
	make basic
	contents crash drive "$(python3 -c 'import json; print(json.load(open("store/lock"))["pid"])')" || true
	umount -l drive
	"$ssefs" fsck --data store --key-file key --json >report.json
	python3 -c 'import json; r = json.load(open("report.json"))["counts"]["records"]; exit("pending" not in r or "orphan" not in r)'
}
until crash; do echo "once more"; done
cp -a --sparse=always store recovered
"$ssefs" mount recovered drive --key-file key --log-file log
"$ssefs" umount drive
list recovered v1-crashed
pack v1-crashed

# journaled makes a volume whose daemon was killed just after syncs. It fails if nothing of them is in the journal alone.
journaled() {
	make basic
	contents journal drive contents.json "$(python3 -c 'import json; print(json.load(open("store/lock"))["pid"])')"
	umount -l drive
	"$ssefs" fsck --data store --key-file key
	rm -rf other
	cp -a --sparse=always store other
	rm other/journal.?
	"$ssefs" mount other drive --key-file key --log-file log -o ro
	local without=0
	contents list drive contents.json >/dev/null 2>&1 || without=$?
	"$ssefs" umount drive
	[ "$without" -ne 0 ]
}
journaled
rm -rf recovered
cp -a --sparse=always store recovered
"$ssefs" mount recovered drive --key-file key --log-file log
"$ssefs" umount drive
list recovered v1-journal
pack v1-journal
