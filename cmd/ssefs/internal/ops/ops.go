// Package ops is what the command line can ask of an open volume, once for both of its ways: over the
// control socket of a mount daemon, or in the process itself when the volume is not mounted.
//
// An operation is a name, a request and a reply, both JSON. Callers hold a Caller and do not see which way it
// goes; the requests and replies in this package are also what --json prints.
package ops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"ssefs/cmd/ssefs/internal/control"
	"ssefs/cmd/ssefs/internal/sandbox"
	"ssefs/cmd/ssefs/internal/session"
	"ssefs/fs/transport"
	"ssefs/kms"
)

// The operations.
const (
	Info         = "info"          // None -> Volume
	Status       = "status"        // None -> VolumeStatus
	Sync         = "sync"          // None -> None
	WaitClosed   = "wait-closed"   // None -> None, once the store is closed
	Stat         = "stat"          // PathRequest -> FileInfo
	BucketCreate = "bucket-create" // BucketRequest -> Bucket
	BucketList   = "bucket-list"   // None -> []Bucket
	BucketShow   = "bucket-show"   // BucketRequest -> Bucket
	BucketSet    = "bucket-set"    // BucketRequest -> Bucket
	SlotAdd      = "slot-add"      // SlotRequest -> Slot
	SlotList     = "slot-list"     // None -> []Slot
	SlotRemove   = "slot-remove"   // SlotRequest -> None
	KeyCreate    = "key-create"    // KeyRequest -> Key
	KeyList      = "key-list"      // None -> []Key
	KeyDescribe  = "key-describe"  // KeyRequest -> Key
	KeyEnable    = "key-enable"    // KeyRequest -> Key
	KeyDisable   = "key-disable"   // KeyRequest -> Key

	KeySetDescription   = "key-set-description"   // KeyRequest -> Key
	KeyDependents       = "key-dependents"        // KeyRequest -> Dependents
	KeyScheduleDeletion = "key-schedule-deletion" // KeyRequest -> Key
	KeyCancelDeletion   = "key-cancel-deletion"   // KeyRequest -> Key
	KeyProtect          = "key-protect"           // KeyRequest -> Key
	KeyUnprotect        = "key-unprotect"         // KeyRequest -> Key
	KeyRotate           = "key-rotate"            // KeyRequest -> Key
	KeySetRotation      = "key-set-rotation"      // KeyRequest -> Key

	MasterKeyDescribe    = "master-key-describe"     // None -> MasterKey
	MasterKeyRotate      = "master-key-rotate"       // None -> MasterKey
	MasterKeySetRotation = "master-key-set-rotation" // KeyRequest -> MasterKey

	KeyGrant            = "key-grant"             // GrantRequest -> Key
	KeyRevoke           = "key-revoke"            // GrantRequest -> Key
	KeyImportParameters = "key-import-parameters" // KeyRequest -> kms.ImportParameters
	KeyImport           = "key-import"            // ImportRequest -> Key
	KeyDeleteMaterial   = "key-delete-material"   // KeyRequest -> Key
	Usage               = "key-usage"             // UsageRequest -> []KeyUsage
	Audit               = "key-audit"             // AuditRequest -> AuditChain
	KeyBackup           = "key-backup"            // BackupRequest -> Backup

	AliasCreate = "alias-create" // AliasRequest -> Alias
	AliasUpdate = "alias-update" // AliasRequest -> Alias
	AliasList   = "alias-list"   // None -> []Alias
	AliasDelete = "alias-delete" // AliasRequest -> None
	Check       = "check"        // CheckRequest -> CheckResult

	VolumeBackup = "backup" // VolumeBackupRequest -> a stream

	GC           = "gc"          // None -> GCResult
	GCProgressOf = "gc-progress" // None -> GCProgress
)

// None is an empty request or reply.
type None struct{}

// Caller carries out operations: a control client, or a Local.
type Caller interface {
	Call(ctx context.Context, operation string, request, reply any) error
	// Open carries out an operation that replies with a stream. An error comes from Open, or from Read in place of
	// io.EOF.
	Open(ctx context.Context, operation string, request any) (io.ReadCloser, error)
}

// Mount is what only the daemon of a mounted volume knows.
type Mount struct {
	Mountpoint string
	Bucket     string // shown as the root, or ""
	// Closed is closed when the store is; CloseError may be called after that.
	Closed     <-chan struct{}
	CloseError func() error
	// Appeared tells the kernel of a new bucket of this name, which it may remember as missing.
	Appeared func(bucket string)
	// Transport tells how the kernel's requests come.
	Transport func() transport.Status
	// Sandbox tells whether the daemon is in its sandbox.
	Sandbox func() sandbox.Status
}

// ErrClosing is returned by operations that come after Stop.
var ErrClosing = errors.New("the drive is being unmounted")

// Operations carries out operations on an open volume. It is safe for concurrent use.
type Operations struct {
	session *session.Session
	mount   Mount // zero when not mounted

	collecting progressKeeper // of a garbage collection

	stopped context.Context // ends with Stop
	stop    context.CancelFunc
	running sync.RWMutex // held shared by operations that use the volume, for good by Stop
}

// New returns the operations on the volume of s. mount is zero when it is not mounted.
func New(s *session.Session, mount Mount) *Operations {
	o := &Operations{session: s, mount: mount}
	o.stopped, o.stop = context.WithCancel(context.Background())
	return o
}

// Stop cancels the operations that are going on, waits for their ends, and refuses new ones: the volume can be closed
// afterwards. Info and WaitClosed do not need it and are answered on.
func (o *Operations) Stop() {
	o.stop()
	o.running.Lock()
}

// operation is one line of the table.
type operation func(o *Operations, ctx context.Context, peer control.Peer, request json.RawMessage) (any, error)

func typed[Req, Rep any](f func(*Operations, context.Context, control.Peer, Req) (Rep, error)) operation {
	return func(o *Operations, ctx context.Context, peer control.Peer, request json.RawMessage) (any, error) {
		var req Req
		if err := json.Unmarshal(request, &req); err != nil {
			return nil, fmt.Errorf("request: %w", err)
		}
		return f(o, ctx, peer, req)
	}
}

func find(name string) (operation, bool) {
	op, ok := map[string]operation{
		Info:         typed((*Operations).info),
		Status:       typed((*Operations).status),
		Sync:         typed((*Operations).sync),
		WaitClosed:   typed((*Operations).waitClosed),
		Stat:         typed((*Operations).stat),
		BucketCreate: typed((*Operations).bucketCreate),
		BucketList:   typed((*Operations).bucketList),
		BucketShow:   typed((*Operations).bucketShow),
		BucketSet:    typed((*Operations).bucketSet),
		SlotAdd:      typed((*Operations).slotAdd),
		SlotList:     typed((*Operations).slotList),
		SlotRemove:   typed((*Operations).slotRemove),
		KeyCreate:    typed((*Operations).keyCreate),
		KeyList:      typed((*Operations).keyList),
		KeyDescribe:  typed((*Operations).keyDescribe),
		KeyEnable:    keyChange((*kms.Service).Enable),
		KeyDisable:   keyChange((*kms.Service).Disable),

		KeySetDescription:   typed((*Operations).keySetDescription),
		KeyDependents:       typed((*Operations).keyDependents),
		KeyScheduleDeletion: typed((*Operations).keyScheduleDeletion),
		KeyCancelDeletion:   keyChange((*kms.Service).CancelDeletion),
		KeyProtect:          keyChange((*kms.Service).Protect),
		KeyUnprotect:        keyChange((*kms.Service).Unprotect),
		KeyRotate:           typed((*Operations).keyRotate),
		KeySetRotation:      typed((*Operations).keySetRotation),

		MasterKeyDescribe:    typed((*Operations).masterKey),
		MasterKeyRotate:      typed((*Operations).masterKeyRotate),
		MasterKeySetRotation: typed((*Operations).masterKeySetRotation),

		KeyGrant:            typed((*Operations).keyGrant),
		KeyRevoke:           typed((*Operations).keyRevoke),
		KeyImportParameters: typed((*Operations).keyImportParameters),
		KeyImport:           typed((*Operations).keyImport),
		KeyDeleteMaterial:   keyChange((*kms.Service).DeleteMaterial),
		Usage:               typed((*Operations).keyUsage),
		Audit:               typed((*Operations).audit),
		KeyBackup:           typed((*Operations).keyBackup),

		AliasUpdate: typed((*Operations).aliasUpdate),
		AliasCreate: typed((*Operations).aliasCreate),
		AliasList:   typed((*Operations).aliasList),
		AliasDelete: typed((*Operations).aliasDelete),
		Check:       typed((*Operations).check),

		GC:           typed((*Operations).gc),
		GCProgressOf: typed((*Operations).gcProgress),
	}[name]
	return op, ok
}

// Handle implements control.Handler.
func (o *Operations) Handle(ctx context.Context, peer control.Peer, name string, request json.RawMessage) (any, error) {
	op, ok := find(name)
	if !ok {
		return nil, unknown(name)
	}
	if name == Info || name == WaitClosed {
		return op(o, ctx, peer, request)
	}
	var reply any
	err := o.run(ctx, func(ctx context.Context) (err error) {
		reply, err = op(o, ctx, peer, request)
		return err
	})
	return reply, err
}

// run runs an operation that uses the volume. Stop cancels it and waits for its end.
func (o *Operations) run(ctx context.Context, operation func(ctx context.Context) error) error {
	if !o.running.TryRLock() {
		return ErrClosing
	}
	defer o.running.RUnlock()
	if o.stopped.Err() != nil {
		return ErrClosing
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(o.stopped, cancel)()
	return operation(ctx)
}

// Stream implements control.Handler.
func (o *Operations) Stream(ctx context.Context, peer control.Peer, name string, request json.RawMessage, w control.StreamWriter) error {
	if name != VolumeBackup {
		return unknown(name)
	}
	return o.run(ctx, func(ctx context.Context) error {
		ended := make(chan struct{})
		defer close(ended)
		defer context.AfterFunc(o.stopped, func() { // a reader that takes nothing must not keep the volume open
			select {
			case <-ended:
			case <-time.After(lastWords):
				w.Abort()
			}
		})()
		var req VolumeBackupRequest
		if err := json.Unmarshal(request, &req); err != nil {
			return fmt.Errorf("request: %w", err)
		}
		err := o.volumeBackup(ctx, peer, req, w)
		if o.stopped.Err() != nil {
			return ErrClosing
		}
		return err
	})
}

// lastWords is how long whoever reads a stream has to take what is on its way once the volume is to be closed.
const lastWords = 2 * time.Second

func unknown(name string) error {
	return fmt.Errorf("%w %q: the mount daemon may be of another version than this command", control.ErrUnknownOperation, name)
}

// Local calls operations in this process, on behalf of its own user.
type Local struct {
	operations *Operations
	peer       control.Peer
}

// NewLocal returns a Caller for the volume of s, which is not mounted.
func NewLocal(s *session.Session, peer control.Peer) Local {
	return Local{New(s, Mount{}), peer}
}

// Call implements Caller.
func (l Local) Call(ctx context.Context, name string, request, reply any) error {
	req, err := json.Marshal(request)
	if err != nil {
		return err
	}
	defer clear(req) // it may hold a secret
	result, err := l.operations.Handle(ctx, l.peer, name, req)
	if err != nil || reply == nil {
		return err
	}
	text, err := json.Marshal(result)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, reply)
}

// Open implements Caller.
func (l Local) Open(ctx context.Context, name string, request any) (io.ReadCloser, error) {
	req, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	r, w := io.Pipe()
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := l.operations.Stream(ctx, l.peer, name, req, pipeWriter{w})
		_ = w.CloseWithError(err) // never fails; nil is io.EOF
	}()
	return &localStream{PipeReader: r, cancel: cancel, done: done}, nil
}

// pipeWriter is a StreamWriter of this process.
type pipeWriter struct{ *io.PipeWriter }

// Abort implements control.StreamWriter.
func (p pipeWriter) Abort() { _ = p.CloseWithError(ErrClosing) }

// localStream is a stream of this process. Once it is closed the operation has ended.
type localStream struct {
	*io.PipeReader
	cancel context.CancelFunc
	done   chan struct{}
}

// Close implements io.Closer.
func (s *localStream) Close() error {
	s.cancel()
	err := s.PipeReader.Close()
	<-s.done
	return err
}
