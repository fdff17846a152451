package volume

import (
	"fmt"
	"sync"

	"ssefs/crypto"
	"ssefs/fs/record"
	"ssefs/store"
)

// aheadBytes bounds the contents, in bytes, of one transaction that stores data
// ahead of its epoch.
const aheadBytes = 8 << 20

// ahead is such a transaction.
type ahead struct {
	pending uint64 // the number of its pending record, which the epoch deletes
	version uint64
	flights []*flight
	bytes   int // of contents

	// What it is once it is sealed.
	batch   *store.Batch
	buffers []*[]byte // that the batch refers to
	err     error
}

// writeBack stores the dirty data of n ahead of the epoch that will name it.
func (v *Volume) writeBack(n *Inode) error {
	v.commitMu.Lock()
	defer v.commitMu.Unlock()
	if err := v.writable(); err != nil {
		return err
	}
	patience := gapPatience
	if v.arena.low() {
		patience = shortPatience
	}
	return v.storeAhead(n, func() uint64 { return n.reach(v.now(), patience) })
}

// storeAhead is writeBack for a caller that holds commitMu and nothing after it.
// What is behind a gap that is being filled stays.
func (v *Volume) storeAhead(n *Inode, reach func() uint64) error {
	all := v.mapAhead(n, reach)
	var err error
	if len(all) == 1 {
		v.sealAhead(&all[0])
		err = v.commitAhead(&all[0])
	} else if len(all) > 1 {
		err = v.storeInTurn(all)
	}
	if err != nil {
		return v.fail(fmt.Errorf("writing data of inode %d: %w", n.Ino, err))
	}
	return nil
}

// mapAhead maps the dirty data of n before the byte that reach returns, and
// divides it into transactions.
func (v *Volume) mapAhead(n *Inode, reach func() uint64) []ahead {
	e := v.begin()
	defer v.end()
	n.mu.Lock()
	var flights []*flight
	if n.content.dirty > 0 && !n.reaped {
		flights = v.mapDirty(e, n, reach())
	}
	n.mu.Unlock()
	var all []ahead
	version := v.db.NextVersion() // and so on: nobody else commits
	for _, f := range flights {
		if len(all) == 0 || all[len(all)-1].bytes >= aheadBytes {
			all = append(all, ahead{pending: v.nextRecord.Add(1) - 1, version: version + uint64(len(all))})
		}
		a := &all[len(all)-1]
		a.flights = append(a.flights, f)
		a.bytes += len(f.refs) * crypto.BlockSize
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range all {
		e.pending = append(e.pending, all[i].pending)
	}
	return all
}

// storeInTurn commits one transaction after the other: while one is on its way to
// the disk the next is sealed.
func (v *Volume) storeInTurn(all []ahead) error {
	sealed := make(chan *ahead)
	failed := make(chan struct{})
	var sealer sync.WaitGroup
	defer sealer.Wait()
	sealer.Go(func() {
		for i := range all {
			v.sealAhead(&all[i])
			select {
			case sealed <- &all[i]:
			case <-failed:
				v.returnBuffers(all[i].buffers)
				return
			}
		}
	})
	for range all {
		if err := v.commitAhead(<-sealed); err != nil {
			close(failed)
			return err
		}
	}
	return nil
}

// sealAhead seals what is to be stored.
func (v *Volume) sealAhead(a *ahead) {
	a.batch = newBatch()
	a.buffers, a.err = v.sealFlights(a.batch, a.flights, a.version)
}

// commitAhead stores what was sealed, and lets go of it.
func (v *Volume) commitAhead(a *ahead) error {
	defer v.returnBuffers(a.buffers)
	if a.err != nil {
		return a.err
	}
	p := record.Pending{Version: a.version}
	for _, f := range a.flights {
		p.Data = append(p.Data, record.DataRef{Inode: f.ino.Ino, Record: f.id})
	}
	v.put(a.batch, record.PendingKey(a.pending), p.Append(nil))
	head := v.head
	head.Version = a.version
	head.NextRecord = v.nextRecord.Load()
	v.put(a.batch, record.HeadKey(), head.Append(nil))
	if err := v.commitBatch(a.batch); err != nil {
		return err
	}
	v.head = head
	v.landFlights(a.flights)
	return nil
}
