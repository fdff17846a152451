// Package frozen mounts volumes that were made by released versions of ssefs and are kept in testdata/volumes: each must
// be readable for ever, to the last attribute, check as clean, and take changes. It also has volumes of a future that
// must be refused.
//
// Every testdata/volumes/NAME.tar.gz holds a store with the key file and the passphrase that open it; NAME.json lists
// what is in it, as testdata/volumes/make_v1.py explains.
package frozen

import (
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
)

func TestMain(m *testing.M) {
	drive.Main(m, nil)
}
