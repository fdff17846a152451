package session

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"ssefs/crypto"
	"ssefs/fs/record"
	"ssefs/kms"
	"ssefs/store"
)

// Rescue is a store opened to copy out of it what can still be read. Unlike an Inspection it opens with a database
// that is damaged, and writes nothing at all into the store.
type Rescue struct {
	path string
	root *crypto.Key
	keys *crypto.VolumeKeys
	id   crypto.VolumeID
	data *store.Rescued
	kms  *kms.Service // nil if there is no keystore that can be used
	// KeystoreError is why there is no keystore, nil if there is.
	KeystoreError error
	// Notes are what should be known of what was opened.
	Notes []string
}

// OpenRescue opens the store at path as far as it can be. work is an empty directory, not in the store, for what
// belongs to the opening; it can be removed after Close. It never waits: a store in use is refused.
func OpenRescue(path, work string, secret crypto.Secret, o Options) (*Rescue, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Rescue{path: path}
	if err := r.open(work, secret, o); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func (r *Rescue) open(work string, secret crypto.Secret, o Options) error {
	text, err := os.ReadFile(filepath.Join(r.path, store.HeaderFile))
	if err != nil {
		return fmt.Errorf("read the volume header, without which nothing can be decrypted: %w", err)
	}
	header, err := crypto.ParseHeader(text)
	if err != nil {
		return explainHeader(fmt.Errorf("%s/%s: %w", r.path, store.HeaderFile, err))
	}
	if r.root, _, err = header.Unlock(secret); err != nil {
		return fmt.Errorf("unlock %s: %w", r.path, err)
	}
	r.id = header.Volume()
	if r.keys, err = crypto.DeriveVolumeKeys(r.root, r.id); err != nil {
		return err
	}
	if r.data, err = store.Rescue(r.path, work, o.Logger); err != nil {
		return fmt.Errorf("open what is left of the store %s: %w", r.path, err)
	}
	r.openKeystore(o)
	return nil
}

// openKeystore opens the keystore that belongs to the state of the store, or else the newest there is: what somebody
// who has the volume's secret and its files can read anyway is copied for them.
func (r *Rescue) openKeystore(o Options) {
	options := kms.Options{
		Files: readOnlyFiles{r.path}, Key: r.keys.Keystore, Volume: r.id, Mode: o.KMS, Logger: o.Logger,
		RecordGeneration: func(uint64) error { return nil },
	}
	head, err := r.head()
	if err == nil {
		options.Generation = head.Keystore
		if r.kms, err = kms.Open(options); err == nil {
			return
		}
	}
	if r.kms, r.KeystoreError = kms.OpenAnyway(options, kms.By{UID: uint32(os.Getuid())}); r.KeystoreError == nil {
		r.Notes = append(r.Notes, fmt.Sprintf("the newest keystore that can be read was used (%v)", err))
	}
}

func (r *Rescue) head() (*record.Head, error) {
	records, err := crypto.NewRecordSealer(r.keys.Metadata, r.id)
	if err != nil {
		return nil, err
	}
	view := r.data.View()
	defer view.Release()
	var head *record.Head
	err = view.Get(record.HeadKey(), func(sealed []byte) error {
		plain, err := records.Open(nil, record.HeadKey(), sealed)
		if err == nil {
			head, err = record.DecodeHead(plain)
		}
		return err
	})
	return head, err
}

// Losses are what could not be used of the database's files.
func (r *Rescue) Losses() []store.Loss { return r.data.Losses }

// View returns a snapshot of what was found.
func (r *Rescue) View() *store.View { return r.data.View() }

// Material is what a salvage needs of the store, but for the database.
func (r *Rescue) Material() Material {
	m := Material{ID: r.id, Keys: r.keys, KMS: r.kms}
	if copied, err := os.ReadFile(filepath.Join(r.path, store.HeadFile)); err == nil {
		m.HeadCopy = copied
	}
	return m
}

// Close lets go of the store.
func (r *Rescue) Close() error {
	if r.kms != nil {
		r.kms.Close()
	}
	var err error
	if r.data != nil {
		err = r.data.Close()
	}
	if r.keys != nil {
		r.keys.Wipe()
	}
	if r.root != nil {
		r.root.Wipe()
	}
	return err
}

// readOnlyFiles are the files of a store that is not to be changed: what is written to them is dropped.
type readOnlyFiles struct{ path string }

// ReadFile implements kms.Files.
func (f readOnlyFiles) ReadFile(name string) ([]byte, error) {
	return os.ReadFile(filepath.Join(f.path, name))
}

// WriteFile implements kms.Files.
func (readOnlyFiles) WriteFile(string, []byte) error { return nil }
