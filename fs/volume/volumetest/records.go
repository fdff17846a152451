package volumetest

import (
	"bytes"
	"maps"

	"ssefs/crypto"
	"ssefs/fs/record"
	"ssefs/store"
)

// Records are records as they are stored, by key. As a change, a nil value deletes.
type Records map[string][]byte

// Dump returns all records under a prefix.
func (x *Volume) Dump(prefix []byte) Records {
	x.Helper()
	view := x.DB.View()
	defer view.Release()
	m := make(Records)
	x.Must(view.Iterate(prefix, nil, func(key, value []byte) error {
		m[string(key)] = bytes.Clone(value)
		return nil
	}))
	return m
}

// Commit changes records, and nothing that goes with them.
func (x *Volume) Commit(changes Records) {
	x.Helper()
	b := &store.Batch{}
	for key, value := range changes {
		if value == nil {
			b.Delete([]byte(key))
		} else {
			b.Put([]byte(key), bytes.Clone(value))
		}
	}
	_, err := x.DB.Commit(b)
	x.Must(err)
}

// Tamper changes records so that the head does not give it away: unless the changes
// have a head of their own, the one that head returns is stored again, as that of an
// epoch which the change is.
func (x *Volume) Tamper(changes Records, head func() *record.Head) {
	x.Helper()
	key := string(record.HeadKey())
	if _, ok := changes[key]; !ok {
		changes = maps.Clone(changes)
		changes[key] = x.NextHead(head())
	}
	x.Commit(changes)
}

// NextHead returns a head sealed as that of the next commit, an epoch.
func (x *Volume) NextHead(h *record.Head) []byte {
	x.Helper()
	h.Version = x.DB.NextVersion()
	h.Epoch = h.Version
	return x.Seal(record.HeadKey(), h.Append(nil))
}

func (x *Volume) sealer() *crypto.RecordSealer {
	x.Helper()
	s, err := crypto.NewRecordSealer(x.Keys.Metadata, x.ID)
	x.Must(err)
	return s
}

// Seal returns a record as it is stored under a key.
func (x *Volume) Seal(key, plain []byte) []byte {
	x.Helper()
	return x.sealer().Seal(nil, key, plain)
}

// Open returns the plaintext of a record that was stored under a key.
func (x *Volume) Open(key, sealed []byte) []byte {
	x.Helper()
	plain, err := x.sealer().Open(nil, key, sealed)
	x.Must(err)
	return plain
}

// EntryKey returns the key of a name in a directory.
func (x *Volume) EntryKey(dir uint64, name string) []byte {
	return record.EntryKey(dir, crypto.NewNameHasher(x.Keys.Names).Hash(dir, []byte(name)))
}
