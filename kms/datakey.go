package kms

import (
	"context"
	"errors"
	"fmt"

	"ssefs/crypto"
)

// Wrapping says how the data keys of KMS files are wrapped.
type Wrapping uint8

const (
	// ByBucketKey puts a short-lived bucket key between CMK and data keys, so that
	// many files cost one use of the CMK.
	ByBucketKey Wrapping = iota
	// Direct wraps each data key under the CMK itself.
	Direct
)

// NewDataKey makes the data key for a new file under policy p and wraps it for
// that file: under the service master key for AES256, under the policy's CMK for
// KMS, by a bucket key, under the key for clear files for none. The caller needs OpGenerate on a
// CMK. The default CMK is created at its first use; see Options.RecordGeneration
// for what that means for the caller's locks. The caller owns the key returned.
//
// Errors wrap ErrNoKey, ErrKeyRevoked, ErrKeyExpired, ErrDenied, ErrRegion,
// ErrKMSOff or ErrClosed.
func (s *Service) NewDataKey(ctx context.Context, p crypto.Policy, fc crypto.FileContext, c Caller) (*crypto.Key, crypto.Envelope, error) {
	return s.NewDataKeyVia(ctx, ByBucketKey, p, fc, c)
}

// NewDataKeyVia is NewDataKey with the choice of how KMS data keys are wrapped.
func (s *Service) NewDataKeyVia(ctx context.Context, via Wrapping, p crypto.Policy, fc crypto.FileContext, c Caller) (*crypto.Key, crypto.Envelope, error) {
	if err := s.checkContext(ctx, fc); err != nil {
		return nil, crypto.Envelope{}, err
	}
	dek, err := crypto.NewKey()
	if err != nil {
		return nil, crypto.Envelope{}, fmt.Errorf("kms: data key: %w", err)
	}
	e, err := s.wrapResolved(ctx, via, p, dek, fc, &c)
	if err != nil {
		dek.Wipe()
		return nil, crypto.Envelope{}, err
	}
	return dek, e, nil
}

// Rewrap wraps a file's data key anew: under the newest version of the key that
// policy p names. The contents need no change. c needs OpDecrypt on the old CMK
// and OpGenerate on the new one. Files of none buckets are stored otherwise, so
// neither e nor p may be of AlgorithmNone: ErrArgument.
func (s *Service) Rewrap(ctx context.Context, e crypto.Envelope, p crypto.Policy, fc crypto.FileContext, c Caller) (crypto.Envelope, error) {
	if e.Algorithm == crypto.AlgorithmNone || p.Algorithm == crypto.AlgorithmNone {
		return crypto.Envelope{}, fmt.Errorf("%w: a data key is not moved to or from files in the clear", ErrArgument)
	}
	dek, err := s.OpenEnvelope(ctx, e, fc, c)
	if err != nil {
		return crypto.Envelope{}, err
	}
	defer dek.Wipe()
	via := ByBucketKey
	if e.Algorithm == crypto.AlgorithmKMS && e.BucketKey == ([16]byte{}) {
		via = Direct
	}
	return s.wrapResolved(ctx, via, p, dek, fc, &c)
}

// wrapResolved wraps dek, getting what that lacks.
func (s *Service) wrapResolved(ctx context.Context, via Wrapping, p crypto.Policy, dek *crypto.Key, fc crypto.FileContext, c *Caller) (crypto.Envelope, error) {
	e, err := s.wrap(via, p, dek, fc, c)
	for s.resolve(ctx, &err, c) {
		e, err = s.wrap(via, p, dek, fc, c)
	}
	if err != nil {
		s.refused(err, AuditRecord{Detail: p.String(), Bucket: fc.Bucket, Inode: fc.Inode, Op: OpGenerate}, c)
		return crypto.Envelope{}, err
	}
	return e, nil
}

// These say what an operation lacks that cannot be had with mu held.
var (
	errNoDefault  = errors.New("no default key yet")
	errNeedGroups = errors.New("supplementary groups needed")
)

// resolve gets what *err says is lacking. It reports whether it did: the
// operation is then to be tried again. Otherwise *err is for the caller.
func (s *Service) resolve(ctx context.Context, err *error, c *Caller) bool {
	switch {
	case *err == nil:
		return false
	case errors.Is(*err, errNoDefault):
		*err = s.ensureDefault(ctx, c.UID)
		return *err == nil
	case errors.Is(*err, errNeedGroups):
		c.groups, c.groupsErr = c.Groups()
		c.resolved = true
		return true
	}
	return false
}

// wrap makes the envelope of dek. errNoDefault when the default CMK is wanted
// and was not created yet.
func (s *Service) wrap(via Wrapping, p crypto.Policy, dek *crypto.Key, fc crypto.FileContext, c *Caller) (crypto.Envelope, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	e := crypto.Envelope{Algorithm: p.Algorithm}
	v, err := s.wrappingVersion(p, &e, c)
	if err != nil {
		return crypto.Envelope{}, err
	}
	e.KeyVersion = v.number
	called := true
	if p.Algorithm == crypto.AlgorithmKMS && via == ByBucketKey {
		called, err = s.bucketKeys.wrap(&e, dek, fc, v)
	} else {
		e.Wrapped, err = v.aead.WrapKey(make([]byte, 0, crypto.WrappedKeySize), dek, e.AAD(fc))
	}
	if err != nil {
		return crypto.Envelope{}, fmt.Errorf("kms: wrapping a data key: %w", err)
	}
	if p.Algorithm == crypto.AlgorithmKMS {
		s.meter.use(e.KeyID, fc.Bucket, c, OpGenerate, called)
	}
	return e, nil
}

// wrappingVersion returns the key version that wraps under policy p, and enters
// the key's ID into e. The caller holds mu.
func (s *Service) wrappingVersion(p crypto.Policy, e *crypto.Envelope, c *Caller) (*version, error) {
	if s.state == nil {
		return nil, ErrClosed
	}
	switch p.Algorithm {
	case crypto.AlgorithmNone:
		return s.state.clear.newest(), nil
	case crypto.AlgorithmAES256:
		return s.state.service.newest(), nil
	case crypto.AlgorithmKMS:
	default:
		return nil, fmt.Errorf("%w: %v", crypto.ErrPolicy, p.Algorithm)
	}
	k, err := s.policyKey(p)
	if err != nil {
		return nil, err
	}
	if err := k.allows(OpGenerate, c); err != nil {
		return nil, err
	}
	e.KeyID = k.id
	return k.newest(), nil
}

// policyKey returns the usable CMK of a KMS policy. The caller holds mu.
func (s *Service) policyKey(p crypto.Policy) (*cmk, error) {
	if s.mode == Off {
		return nil, errOff
	}
	ref := p.Key
	if ref == "" {
		ref = DefaultAlias
	}
	k, err := s.state.find(ref)
	if err != nil {
		if canonAlias(ref) == DefaultAlias {
			return nil, errNoDefault
		}
		return nil, err
	}
	if k.region != s.region {
		return nil, fmt.Errorf("%w: key %s is of region %q, the volume of %q", ErrRegion, k.id, k.region, s.region)
	}
	return k, k.usable(s.clock)
}

var errOff = fmt.Errorf("%w: mount with --kms on to use KMS policies and files", ErrKMSOff)

// OpenEnvelope unwraps a file's data key. The caller needs OpDecrypt on a CMK.
// The caller owns the key returned.
//
// Errors are those of NewDataKey without ErrRegion, and crypto.ErrAuth when the
// envelope is not one of this file, or was changed.
func (s *Service) OpenEnvelope(ctx context.Context, e crypto.Envelope, fc crypto.FileContext, c Caller) (*crypto.Key, error) {
	if err := s.checkContext(ctx, fc); err != nil {
		return nil, err
	}
	dek, err := s.unwrap(e, fc, &c)
	for s.resolve(ctx, &err, &c) {
		dek, err = s.unwrap(e, fc, &c)
	}
	if err != nil {
		s.refused(err, AuditRecord{KeyID: e.KeyID, Bucket: fc.Bucket, Inode: fc.Inode, Op: OpDecrypt}, &c)
		return nil, err
	}
	return dek, nil
}

// unwrap is one try of OpenEnvelope.
func (s *Service) unwrap(e crypto.Envelope, fc crypto.FileContext, c *Caller) (*crypto.Key, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	v, err := s.unwrappingVersion(e, OpDecrypt, c)
	if err != nil {
		return nil, err
	}
	var dek *crypto.Key
	called := true
	if e.Algorithm == crypto.AlgorithmKMS && e.BucketKey != ([16]byte{}) {
		dek, called, err = s.bucketKeys.unwrap(e, fc, v)
	} else {
		dek, err = v.aead.UnwrapKey(e.Wrapped, e.AAD(fc))
	}
	if err != nil {
		return nil, fmt.Errorf("kms: data key of inode %d in bucket %d, under key %q version %d: %w", fc.Inode, fc.Bucket, e.KeyID, e.KeyVersion, err)
	}
	if e.Algorithm == crypto.AlgorithmKMS {
		s.meter.use(e.KeyID, fc.Bucket, c, OpDecrypt, called)
	}
	return dek, nil
}

// Allowed reports whether the caller may now do op with the file that e belongs
// to, without unwrapping anything. It is what OpenEnvelope checks, for files
// whose key the drive has already: at each open and truncate. fc is for the record
// of a refusal.
func (s *Service) Allowed(e crypto.Envelope, fc crypto.FileContext, op Op, c Caller) error {
	err := s.allowed(e, op, &c)
	for s.resolve(context.Background(), &err, &c) {
		err = s.allowed(e, op, &c)
	}
	if err != nil {
		s.refused(err, AuditRecord{KeyID: e.KeyID, Bucket: fc.Bucket, Inode: fc.Inode, Op: op}, &c)
	}
	return err
}

func (s *Service) allowed(e crypto.Envelope, op Op, c *Caller) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, err := s.unwrappingVersion(e, op, c)
	return err
}

// unwrappingVersion returns the key version that opens e, when the caller may do
// op with that key. The caller holds mu.
func (s *Service) unwrappingVersion(e crypto.Envelope, op Op, c *Caller) (*version, error) {
	if s.state == nil {
		return nil, ErrClosed
	}
	var r *ring
	switch e.Algorithm {
	case crypto.AlgorithmNone:
		r = &s.state.clear
	case crypto.AlgorithmAES256:
		r = &s.state.service
	case crypto.AlgorithmKMS:
		if s.mode == Off {
			return nil, errOff
		}
		k, ok := s.state.keys[e.KeyID]
		if !ok {
			return nil, fmt.Errorf("%w %q in this volume", ErrNoKey, e.KeyID)
		}
		if err := k.usable(s.clock); err != nil {
			return nil, err
		}
		if err := k.allows(op, c); err != nil {
			return nil, err
		}
		r = &k.ring
	default:
		return nil, fmt.Errorf("%w: envelope of %v", crypto.ErrFormat, e.Algorithm)
	}
	v := r.find(e.KeyVersion)
	if v == nil || v.aead == nil {
		return nil, fmt.Errorf("%w: no version %d of key %q", ErrNoKey, e.KeyVersion, e.KeyID)
	}
	return v, nil
}

// CheckPolicy reports whether p may be set as a bucket's policy: its key must be
// known and usable, and of the volume's region. The default CMK is created if the
// policy wants it; what NewDataKey says of locks holds here too.
func (s *Service) CheckPolicy(p crypto.Policy) error {
	if err := p.Validate(); err != nil {
		return err
	}
	err := s.checkPolicy(p)
	if errors.Is(err, errNoDefault) {
		return s.ensureDefault(context.Background(), 0)
	}
	return err
}

func (s *Service) checkPolicy(p crypto.Policy) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.state == nil {
		return ErrClosed
	}
	if p.Algorithm != crypto.AlgorithmKMS {
		return nil
	}
	_, err := s.policyKey(p)
	return err
}

// checkContext refuses what belongs to another volume, and requests given up.
func (s *Service) checkContext(ctx context.Context, fc crypto.FileContext) error {
	if fc.Volume != s.volume {
		return fmt.Errorf("%w: a file of another volume", ErrArgument)
	}
	return ctx.Err()
}
