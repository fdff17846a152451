package volume_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"ssefs/fs/check"
	"ssefs/fs/volume"
)

// TestMain lends package check to the tests inside package volume, which
// cannot import it.
func TestMain(m *testing.M) {
	volume.Fsck = func(a volume.FsckArgs) ([]string, error) {
		r, err := check.Run(context.Background(), check.Options{
			View: a.View, Keys: a.Keys, ID: a.ID, Contents: check.VerifyContents, KMS: a.KMS, HeadCopy: a.HeadCopy,
		})
		if err != nil {
			return nil, err
		}
		var problems []string
		for i := range r.Problems {
			problems = append(problems, fmt.Sprintf("%s: %s", r.Problems[i].Severity, &r.Problems[i]))
		}
		if r.Omitted > 0 {
			problems = append(problems, fmt.Sprintf("and %d more", r.Omitted))
		}
		return problems, nil
	}
	os.Exit(m.Run())
}
