// Package storms has many processes rename, link, exchange, make and remove a few names at once, and looks for an order
// of what they did in which every answer that they got was right: one that keeps what came before, for each process and
// for whatever ended before something else began. What is in the tree afterwards, before and after the store was opened
// again, is the last answer; so a name that was lost or doubled, a directory in itself, or one out of reach has no such
// order. After a kill it has to be what the tree was at some point of the order, and not before a sync that was
// answered.
//
// The search is porcupine's. Names are looked up relative to descriptors of directories, so that each operation is one
// step for the kernel, and files are told apart by inode numbers, which the drive never gives twice.
package storms

import (
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
)

func TestMain(m *testing.M) {
	drive.Main(m, map[string]drive.Helper{"storm": storm})
}
