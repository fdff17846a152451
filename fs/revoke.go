package fs

import (
	"ssefs/kms"
)

// followKeys takes cached contents and data keys away when a customer master
// key can no longer be used. The key service calls from its own goroutine, with
// nothing held, and waits. It returns what ends the subscription.
func (d *drive) followKeys(keys *kms.Service) (stop func()) {
	return keys.Subscribe(func(e kms.Event) {
		if e.Err == nil {
			return // usable again: the next use unwraps the data keys
		}
		d.log.Info("key can no longer be used; taking its files out of memory", "key", e.KeyID, "err", e.Err)
		if err := d.v.Revoke(e.KeyID, d.invalidate); err != nil {
			d.log.Error("revoking a key was not complete", "key", e.KeyID, "err", err)
		}
	})
}

// invalidate has the kernel write back and drop what it has cached of an
// inode. It must not be called by a request handler.
func (d *drive) invalidate(ino uint64) {
	d.kernel.InodeNotify(d.node(ino), 0, -1)
}
