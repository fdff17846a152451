package frozen

import (
	"path/filepath"
	"slices"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"
)

// TestBackup restores backups of the frozen volumes: one has all kinds of records, the other what a crash leaves.
func TestBackup(t *testing.T) {
	for _, name := range names(t) {
		t.Run(name, func(t *testing.T) {
			v, want := unpack(t, name), listed(t, name)
			file := filepath.Join(t.TempDir(), "backup")
			v.must(v.keyFile, "backup", file)
			restored := &volume{t: t, store: filepath.Join(drive.Dir(t), "store"), point: v.point, log: v.log, keyFile: v.keyFile}
			r := drive.CLI(t, slices.Concat([]string{"restore", file, restored.store, "--data"}, v.passphraseArg)...)
			expect.Equal(t, r.Code, 0, "exit code of restore: %s%s", r.Stdout, r.Stderr)
			t.Cleanup(func() { drive.NothingLeft(t, restored.store, restored.point) })
			restored.mount(v.keyFile, "-o", "ro")
			sameTree(t, restored.walk(), want)
			restored.unmount()
			restored.mount(v.keyFile)
			restored.must(nil, "gc") // which ends what is being deleted
			restored.unmount()
			if r := restored.fsck(); r["pending"]+r["orphan"] > 0 {
				t.Errorf("%d pending and %d orphan records are left", r["pending"], r["orphan"])
			}
		})
	}
}
