package check

import (
	"fmt"
	"testing"

	"ssefs/fs/volume/volumetest"
)

// BenchmarkRun checks a volume of many small files: 100 to a directory, one
// block each.
func BenchmarkRun(b *testing.B) {
	const files = 20_000
	x := newVolume(b)
	x.mkdir("/b", "AES256")
	contents := volumetest.Noise(1, 3000)
	for i := range files {
		dir := fmt.Sprintf("/b/d%d", i/100)
		if i%100 == 0 {
			x.mkdir(dir)
		}
		x.file(fmt.Sprintf("%s/f%d", dir, i), contents)
	}
	x.Sync()
	for mode, name := range []string{SkipContents: "skip", VerifyContents: "verify"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				x.clean(ContentsMode(mode))
			}
			b.ReportMetric(float64(files*b.N)/b.Elapsed().Seconds(), "files/s")
		})
	}
}
