package volume

import (
	"context"
	"fmt"

	"ssefs/crypto"
	"ssefs/kms"
)

// KeyService wraps and unwraps data keys. *kms.Service is one.
type KeyService interface {
	NewDataKeyVia(ctx context.Context, via kms.Wrapping, p crypto.Policy, fc crypto.FileContext, c kms.Caller) (*crypto.Key, crypto.Envelope, error)
	OpenEnvelope(ctx context.Context, e crypto.Envelope, fc crypto.FileContext, c kms.Caller) (*crypto.Key, error)
	Allowed(e crypto.Envelope, fc crypto.FileContext, op kms.Op, c kms.Caller) error
	CheckPolicy(p crypto.Policy) error
}

func (v *Volume) context(n *Inode) crypto.FileContext {
	return crypto.FileContext{Volume: v.o.ID, Bucket: n.Bucket, Inode: n.Ino}
}

// newKey gives a new file its data key under its bucket's policy.
func (v *Volume) newKey(ctx context.Context, n *Inode, c kms.Caller) error {
	p, via, err := v.keyRules(n.Bucket)
	if err != nil {
		return err
	}
	key, env, err := v.keyService.NewDataKeyVia(ctx, via, p, v.context(n), c)
	if err != nil {
		return err
	}
	n.envelope = env.Marshal()
	n.keyID = cmkID(env)
	return v.setCipher(n, key, env)
}

// cmkID returns the customer master key that an envelope depends on, "" if it
// depends on none.
func cmkID(e crypto.Envelope) string {
	if e.Algorithm == crypto.AlgorithmKMS {
		return e.KeyID
	}
	return ""
}

func (v *Volume) setCipher(n *Inode, key *crypto.Key, env crypto.Envelope) error {
	defer key.Wipe()
	c, err := crypto.NewFileCipher(key, env.Algorithm.ContentMode(), v.context(n))
	if err != nil {
		return err
	}
	if !n.cipher.CompareAndSwap(nil, c) {
		c.Wipe() // another caller was faster
		return nil
	}
	n.keySince.Store(v.now())
	return nil
}

// Open unwraps the data key of a regular file for a caller, or says why it
// may not be used. Afterwards Read, Write and the like work, until the key is
// revoked.
func (v *Volume) Open(ctx context.Context, n *Inode, c kms.Caller) error {
	switch { // the type never changes
	case n.IsDir():
		return ErrIsDir
	case !n.IsRegular():
		return ErrInvalid
	}
	env, err := v.Envelope(n)
	if err != nil {
		return err
	}
	if err := v.keyService.Allowed(env, v.context(n), kms.OpDecrypt, c); err != nil {
		return err
	}
	if n.cipher.Load() != nil {
		return nil
	}
	key, err := v.keyService.OpenEnvelope(ctx, env, v.context(n), c)
	if err != nil {
		return err
	}
	if err := v.setCipher(n, key, env); err != nil {
		return err
	}
	// A revocation may have dropped keys while this one was on its way. That the
	// caller lost a grant meanwhile is no reason to take the key from others.
	if err := v.keyService.Allowed(env, v.context(n), kms.OpDecrypt, kms.Drive()); err != nil {
		v.dropKey(n)
		return err
	}
	return nil
}

// Envelope returns the envelope of a regular file.
func (v *Volume) Envelope(n *Inode) (crypto.Envelope, error) {
	n.mu.RLock()
	b := n.envelope
	n.mu.RUnlock()
	env, err := crypto.ParseEnvelope(b)
	if err != nil {
		return env, damaged('I', n.Ino, fmt.Errorf("envelope: %w", err))
	}
	return env, nil
}

// dropKey wipes the data key once no read or write of the inode is going on.
func (v *Volume) dropKey(n *Inode) {
	v.commitMu.Lock()
	defer v.commitMu.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.content.dirty == 0 && len(n.content.flights) == 0 {
		n.forgetKey()
	}
}

// keyNumber returns a small number for a customer master key, 0 for none.
func (v *Volume) keyNumber(id string) uint32 {
	if id == "" {
		return 0
	}
	v.keyMu.Lock()
	defer v.keyMu.Unlock()
	n, ok := v.keyNumbers[id]
	if !ok {
		n = uint32(len(v.keyNumbers) + 1)
		v.keyNumbers[id] = n
	}
	return n
}

// revokeRounds bounds how often a revocation looks again for pages that the
// kernel would not let go of.
const revokeRounds = 5

// Revoke takes away what is in memory of the files under a customer master key
// that can no longer be used: it has the kernel write back and drop their cached
// pages, makes what was written durable, wipes the data keys, and has the pages
// dropped again. invalidate does the kernel's part for one inode; it must not be
// called by a request handler. New opens are refused by the key service already.
func (v *Volume) Revoke(keyID string, invalidate func(ino uint64)) error {
	number := v.keyNumber(keyID)
	for range revokeRounds {
		known := v.table.knownWithKey(number)
		for _, ino := range known {
			invalidate(ino)
		}
		if v.writable() == nil {
			if err := v.Sync(); err != nil {
				return err
			}
		}
		left := 0
		v.table.each(func(n *Inode) {
			if n.keyID != keyID {
				return
			}
			v.dropKey(n)
			if n.cipher.Load() != nil {
				left++
			}
		})
		for _, ino := range known {
			invalidate(ino)
		}
		if left == 0 {
			return nil
		}
	}
	return fmt.Errorf("files under key %s are still being written to", keyID)
}

// Unlocked reports whether the data key is open.
func (n *Inode) Unlocked() bool { return n.cipher.Load() != nil || !n.IsRegular() }
