package volume

import "testing"

// TestDataKeysAge: keys of files that nobody uses are wiped after a while, those in use stay, and a file whose key was wiped
// can be opened again.
func TestDataKeysAge(t *testing.T) {
	x := newTestVolume(t, Options{})
	idle, used := x.newFile("/b/idle"), x.newFile("/b/used")
	x.write(idle, 0, []byte("idle"))
	x.write(used, 0, []byte("used"))
	x.must(x.v.Sync())
	x.v.Unpin(idle)
	begin := idle.keySince.Load()
	life := int64(DataKeyLife)
	if n := x.v.table.dropOldKeys(begin+life-1, life); n != 0 || !idle.Unlocked() {
		t.Errorf("%d keys went before their time", n)
	}
	later := max(begin, used.keySince.Load()) + life
	if n := x.v.table.dropOldKeys(later, life); n != 1 || idle.Unlocked() || !used.Unlocked() {
		t.Errorf("%d keys went; idle %v, used %v", n, idle.Unlocked(), used.Unlocked())
	}
	if n := x.v.table.dropOldKeys(later, life); n != 0 {
		t.Errorf("%d keys went twice", n)
	}
	x.wantContents(used, []byte("used"))
	again := x.file("/b/idle")
	x.wantContents(again, []byte("idle"))
	x.v.Unpin(again)
	// A clock that was set back makes a key old, too.
	if n := x.v.table.dropOldKeys(again.keySince.Load()-1, life); n != 1 {
		t.Errorf("%d keys went when the clock was set back", n)
	}
	x.v.Unpin(used)
}
