package kms

import "errors"

// Why a key cannot be used. Errors returned by a Service wrap one of these; the
// drive turns them into the errno named here.
var (
	// ErrNoKey: the key is not known, or has no material: not imported yet, or
	// deleted (ENOKEY).
	ErrNoKey = errors.New("no such key")
	// ErrKeyRevoked: the key is disabled, pending deletion or deleted (EKEYREVOKED).
	ErrKeyRevoked = errors.New("key revoked")
	// ErrKeyExpired: the key's imported material has expired (EKEYEXPIRED).
	ErrKeyExpired = errors.New("key material expired")
	// ErrDenied: the caller holds no grant on the key (EACCES).
	ErrDenied = errors.New("no grant on the key")
	// ErrKMSOff: the volume is mounted with KMS switched off (EOPNOTSUPP).
	ErrKMSOff = errors.New("kms is switched off")
	// ErrUnavailable: the key service did not answer, after retries (ETIMEDOUT).
	ErrUnavailable = errors.New("kms unavailable")
	// ErrRegion: the key belongs to another region than the volume (EINVAL).
	ErrRegion = errors.New("key of another region")
)

// Why a change was refused.
var (
	// ErrAlias: an alias name that is malformed or reserved.
	ErrAlias = errors.New("alias name not allowed")
	// ErrAliasExists: the alias names a key already.
	ErrAliasExists = errors.New("alias exists")
	// ErrNoAlias: no such alias. It comes together with ErrNoKey where an alias
	// was given in place of a key.
	ErrNoAlias = errors.New("no such alias")
	// ErrArgument: an argument out of its range.
	ErrArgument = errors.New("invalid argument")
	// ErrState: the key's state does not allow the change.
	ErrState = errors.New("not in this state of the key")
	// ErrManaged: the default key is changed only on explicit request.
	ErrManaged = errors.New("key is managed by the service")
	// ErrProtected: the key's deletion protection is on.
	ErrProtected = errors.New("deletion protection is on")
	// ErrImport: an import token or wrapped material that is not accepted.
	ErrImport = errors.New("key import refused")
	// ErrNoGrant: no such grant to revoke.
	ErrNoGrant = errors.New("no such grant")
	// ErrClosed: the service is closed.
	ErrClosed = errors.New("kms closed")
)

// What is wrong with the keystore.
var (
	// ErrKeystoreDamaged: neither copy of the keystore can be read.
	ErrKeystoreDamaged = errors.New("keystore damaged")
	// ErrRollback: the keystore and the store's head are of different
	// generations; one of them was put back to an older state.
	ErrRollback = errors.New("keystore generation does not match the store")
	// ErrKeystoreExists: a keystore is there already and is not written over.
	ErrKeystoreExists = errors.New("keystore exists")
	// ErrOneCopy: the change took effect and is durable, but only one of the
	// keystore's two copies could be written.
	ErrOneCopy = errors.New("change is in effect, but the keystore's second copy could not be written")
)
