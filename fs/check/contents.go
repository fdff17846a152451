package check

import (
	"cmp"
	"errors"
	"slices"

	"ssefs/crypto"
	"ssefs/fs/extent"
	"ssefs/fs/record"
	"ssefs/kms"
	"ssefs/store"
)

// contents opens the contents of the file being checked.
type contents struct {
	cipher *crypto.FileCipher // nil if they are not to be, or cannot be, opened
	block  []byte
}

func (t *contents) close() {
	if t.cipher != nil {
		t.cipher.Wipe()
		t.cipher = nil
	}
	clear(t.block) // the last block's plaintext
}

// lockedKey is a key that cannot be used, and why.
type lockedKey struct{ id, reason string }

// openKey checks the file's envelope and gets the cipher for its contents.
func (f *fileCheck) openKey() {
	env, err := crypto.ParseEnvelope(f.n.Envelope)
	if err != nil {
		f.problem(Envelope, Error, f.ino, "%v", err)
		return
	}
	if f.KMS == nil {
		return
	}
	fc := f.contextOf(f.ino, f.n)
	key, err := f.KMS.OpenEnvelope(f.ctx, env, fc, kms.Drive())
	if err != nil {
		f.keyFailed(env, err)
		return
	}
	defer key.Wipe()
	if f.Contents != VerifyContents {
		return
	}
	if f.contents.cipher, err = crypto.NewFileCipher(key, env.Algorithm.ContentMode(), fc); err != nil {
		f.fatal = err
	}
}

// keyFailed tells keys that cannot be used at present from damage.
func (f *fileCheck) keyFailed(env crypto.Envelope, err error) {
	if f.ctx.Err() != nil {
		f.fatal = f.ctx.Err()
		return
	}
	if errors.Is(err, kms.ErrClosed) {
		f.fatal = err
		return
	}
	if env.Algorithm == crypto.AlgorithmKMS { // the service's own keys are never locked
		for _, reason := range []error{
			kms.ErrKeyRevoked, kms.ErrKeyExpired, kms.ErrNoKey, kms.ErrKMSOff, kms.ErrDenied, kms.ErrUnavailable,
		} {
			if errors.Is(err, reason) {
				f.locked[lockedKey{env.KeyID, reason.Error()}]++
				return
			}
		}
	}
	f.problem(Envelope, Error, f.ino, "the data key does not unwrap: %v", err)
}

// lockedKeys lists the keys that could not be used.
func (c *checker) lockedKeys() []LockedKey {
	var list []LockedKey
	for k, n := range c.locked {
		list = append(list, LockedKey{KeyID: k.id, Reason: k.reason, Files: n})
	}
	slices.SortFunc(list, func(a, b LockedKey) int {
		return cmp.Or(cmp.Compare(a.KeyID, b.KeyID), cmp.Compare(a.Reason, b.Reason))
	})
	return list
}

// verify opens the blocks of one data record that a leaf names.
func (f *fileCheck) verify(index uint64, rec *extent.Rec, runs []extent.Run) error {
	rc, err := f.contents.cipher.Record(rec.Salt)
	if err != nil {
		return err
	}
	bad := badRange{f: f, id: rec.ID}
	opened := int64(0)
	err = f.View.Get(record.DataKey(f.ino, rec.ID), func(value []byte) error {
		opened, bad.end = 0, 0
		for _, r := range runs {
			for i := range r.Count {
				logical := index*extent.LeafBlocks + uint64(r.Start+i)
				sealed, err := crypto.SealedBlock(value, uint32(r.Index+i))
				if err == nil {
					f.contents.block, err = rc.OpenBlock(f.contents.block[:0], uint32(r.Index+i), logical, sealed)
				}
				if err != nil {
					bad.add(logical, err)
					continue
				}
				opened += int64(len(f.contents.block))
			}
		}
		return nil
	})
	bad.flush()
	f.report.Counts.VerifiedBytes += opened
	switch {
	case err == nil, errors.Is(err, store.ErrNotFound): // noted when the map is compared with the records
		return nil
	case errors.Is(err, store.ErrIO), errors.Is(err, store.ErrDamaged):
		f.runProblem(StoreFailure, index, runs, "the store fails to deliver data record %d: %v", rec.ID, err)
		return nil
	}
	return err
}

// badRange gathers blocks that do not open into ranges.
type badRange struct {
	f          *fileCheck
	id         uint64
	first, end uint64 // logical blocks; end 0: none
	cause      error
}

func (b *badRange) add(logical uint64, cause error) {
	if b.end == logical && b.end != 0 {
		b.end++
		return
	}
	b.flush()
	b.first, b.end, b.cause = logical, logical+1, cause
}

func (b *badRange) flush() {
	if b.end != 0 {
		b.f.rangeProblem(Contents, b.first, b.end, "contents in data record %d: %v", b.id, b.cause)
		b.end = 0
	}
}
