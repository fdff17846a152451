package kms

import (
	"context"

	"ssefs/crypto"
)

// Provider is what the drive needs of a key management service. Service is the
// embedded one; one that asks a remote service keeps to the same contract:
//
//   - The encryption context of a data key is its envelope without the wrapped key
//     and the file it belongs to, crypto.Envelope.AAD: an envelope opens for that
//     file only.
//   - The envelope of a new or rewrapped key names the key's ID, never an alias,
//     and the version that wrapped it, the newest.
//   - Callers that hold no permission are refused with ErrDenied, keys that are not
//     enabled with ErrKeyRevoked, and so on; a service that does not answer within
//     ctx, after retries, is ErrUnavailable.
//   - All methods may be called concurrently.
type Provider interface {
	// NewDataKey generates a data key (GenerateDataKey).
	NewDataKey(ctx context.Context, p crypto.Policy, fc crypto.FileContext, c Caller) (*crypto.Key, crypto.Envelope, error)
	// OpenEnvelope unwraps a data key (Decrypt).
	OpenEnvelope(ctx context.Context, e crypto.Envelope, fc crypto.FileContext, c Caller) (*crypto.Key, error)
	// Rewrap moves a data key under another key or version (ReEncrypt).
	Rewrap(ctx context.Context, e crypto.Envelope, p crypto.Policy, fc crypto.FileContext, c Caller) (crypto.Envelope, error)
	// Describe describes a key (DescribeKey).
	Describe(ctx context.Context, ref string) (KeyInfo, error)
}

var _ Provider = (*Service)(nil)
