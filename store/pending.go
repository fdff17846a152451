package store

import "bytes"

// pendingRecords walks the records of a View's overlays in key order, beside an
// iteration of Badger.
type pendingRecords struct {
	prefix  []byte
	cursors []*cursor // of the overlays, the newest first
}

// pendingFrom returns the records from a key on that have the prefix.
func (v *View) pendingFrom(start, prefix []byte) *pendingRecords {
	p := &pendingRecords{prefix: prefix}
	for _, o := range v.snap.overlays {
		if o.first <= v.snap.version {
			p.cursors = append(p.cursors, o.seek(start, v.snap.version))
		}
	}
	return p
}

func (p *pendingRecords) close() {
	for _, c := range p.cursors {
		c.close()
	}
}

// next returns the first change that was not taken, and whether there is one.
// What newer overlays say of a key counts.
func (p *pendingRecords) next() (change, bool) {
	var first change
	found := false
	for _, c := range p.cursors {
		if !c.valid() {
			continue
		}
		ch := c.change()
		if bytes.HasPrefix(ch.key, p.prefix) && (!found || bytes.Compare(ch.key, first.key) < 0) {
			first, found = ch, true
		}
	}
	return first, found
}

// take skips a key in all overlays.
func (p *pendingRecords) take(key []byte) {
	for _, c := range p.cursors {
		if c.valid() && bytes.Equal(c.change().key, key) {
			c.next()
		}
	}
}

// upTo calls fn with the records whose keys are below limit, or all if that is
// nil, and reports whether the overlays know of a record under limit itself: then
// fn was called with that too, unless it is deleted, and the one in Badger is out
// of date.
func (p *pendingRecords) upTo(limit []byte, fn func(change) error, inCallback *bool) (hidden bool, err error) {
	for !hidden {
		c, ok := p.next()
		if !ok {
			return false, nil
		}
		if limit != nil {
			order := bytes.Compare(c.key, limit)
			if order > 0 {
				return false, nil
			}
			hidden = order == 0
		}
		p.take(c.key)
		if c.del {
			continue
		}
		*inCallback = true
		err := fn(c)
		*inCallback = false
		if err != nil {
			return hidden, err
		}
	}
	return hidden, nil
}
