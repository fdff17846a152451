package posix

import (
	"path/filepath"
	"testing"
	"time"

	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

// TestBlocksOfAFileBeingWritten: the kernel counts no blocks itself and is told
// to ask again, after a sync within an eighth and after close exactly.
func TestBlocksOfAFileBeingWritten(t *testing.T) {
	_, dir := bucket(t)
	p := filepath.Join(dir, "log")
	// exactly waits for the number of 4 KiB blocks that stat tells of the closed
	// file: closing does not wait for the request that it causes.
	exactly := func(want int64, when string) {
		t.Helper()
		var got int64
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
			var st unix.Stat_t
			expect.OK(t, unix.Stat(p, &st), "stat")
			if got = st.Blocks / 8; got == want {
				return
			}
		}
		t.Errorf("%s: %d blocks, want %d", when, got, want)
	}
	f := expect.Create(t, p)
	const blocks = 40
	for i := range int64(blocks) {
		f.Pwrite(expect.Random(uint64(i), 4096), i*4096)
		f.Sync()
		if got, all := f.Stat().Blocks/8, i+1; got < all-all/8-1 || got > all {
			t.Errorf("%d blocks were written and synced, stat tells %d", all, got)
		}
	}
	f.Close()
	exactly(blocks, "after close")

	// As many blocks again after others were cut off: what the kernel was told in
	// between counts, not what there was before.
	f = expect.Open(t, p, unix.O_RDWR|unix.O_TRUNC, 0)
	expect.Equal(t, f.Stat().Blocks, 0, "blocks of an emptied file")
	f.Pwrite(expect.Random(1, blocks*4096), 0)
	f.Sync()
	f.Close()
	exactly(blocks, "after writing anew")

	f = expect.Open(t, p, unix.O_RDWR, 0)
	expect.OK(t, unix.Fallocate(f.Fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, blocks/2*4096), "punch")
	f.Sync()
	f.Close()
	exactly(blocks/2, "after punching")
}
