package volume

import "testing"

func TestGaps(t *testing.T) {
	const now = int64(1e12)
	n := &Inode{}
	write := func(start, end uint64, at int64) {
		n.written(start, end, at)
		n.Size = max(n.Size, end)
	}
	check := func(want bool, at int64, when string) {
		t.Helper()
		if n.settled(at) != want {
			t.Errorf("%s: settled is %v", when, !want)
		}
	}
	write(0, 100, now)
	check(true, now, "after a write at the end")
	write(300, 400, now)
	check(false, now, "with a gap")
	check(true, now+gapPatience, "with an old gap")
	write(100, 200, now)
	check(false, now, "with half a gap")
	write(200, 300, now)
	check(true, now, "without a gap")
	write(500, 600, now)
	write(700, 800, now)
	write(350, 900, now)
	check(true, now, "after a write over two gaps")
	for i := range uint64(2 * maxGaps) {
		write(1000*(i+1), 1000*(i+1)+1, now)
	}
	if len(n.content.gaps) > maxGaps {
		t.Errorf("%d gaps are remembered", len(n.content.gaps))
	}
}
