package kms

import (
	"encoding/binary"
	"fmt"
	"time"

	"ssefs/crypto"
)

// decoder reads from b. After the first error all reads return zero values, so
// callers check err where it matters: before an allocation or a loop.
type decoder struct {
	b      []byte
	err    error
	loaded []*crypto.Key // all material read so far
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: keystore: %s", crypto.ErrFormat, fmt.Sprintf(format, args...))
	}
}

// bytes returns the next n bytes, not copied.
func (d *decoder) bytes(n int) []byte {
	if d.err == nil && n > len(d.b) {
		d.fail("truncated")
	}
	if d.err != nil {
		return make([]byte, n)
	}
	p := d.b[:n]
	d.b = d.b[n:]
	return p
}

func (d *decoder) uint(size int) uint64 {
	var p [8]byte
	copy(p[8-size:], d.bytes(size))
	return binary.BigEndian.Uint64(p[:])
}

// count reads a number of items of at least size bytes each.
func (d *decoder) count(size int, limit int) int {
	n := d.uint(4)
	if d.err == nil && (n > uint64(len(d.b)/size) || n > uint64(limit)) {
		d.fail("%d items", n)
	}
	if d.err != nil {
		return 0
	}
	return int(n)
}

func (d *decoder) time() time.Time {
	n := int64(d.uint(8))
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

func (d *decoder) text(limit int) string {
	n := int(d.uint(2))
	if n > limit {
		d.fail("a text of %d bytes", n)
		return ""
	}
	return string(d.bytes(n))
}

// decode reads the content of a keystore; b is wiped where it held material.
func decode(b []byte) (*model, error) {
	d := decoder{b: b}
	m := &model{keys: map[string]*cmk{}, aliases: map[string]string{}}
	d.model(m)
	if d.err == nil && len(d.b) != 0 {
		d.fail("%d bytes too many", len(d.b))
	}
	if d.err != nil {
		wipeKeys(d.loaded)
		return nil, d.err
	}
	return m, nil
}

func (d *decoder) model(m *model) {
	m.generation = d.uint(8)
	m.created = d.time()
	for i := range m.audit {
		m.audit[i] = anchor{d.uint(8), [32]byte(d.bytes(32))}
	}
	for _, r := range []*ring{&m.service, &m.clear} {
		d.ring(r)
		if d.err == nil && (r.newest() == nil || r.newest().key == nil) {
			d.fail("no key")
		}
	}
	last := ""
	for n := d.count(50, 1<<24); n > 0 && d.err == nil; n-- {
		k := &cmk{}
		d.key(k)
		if k.id <= last {
			d.fail("keys out of order")
		}
		last = k.id
		m.keys[k.id] = k
	}
	last = ""
	for n := d.count(18, 1<<24); n > 0 && d.err == nil; n-- {
		name := d.text(len(aliasPrefix) + maxAlias)
		id := formatID([16]byte(d.bytes(16)))
		if !validAlias(name) || name <= last {
			d.fail("alias %q", name)
		}
		if k, ok := m.keys[id]; !ok || !k.deleted.IsZero() {
			d.fail("alias %q of no key", name)
		}
		last = name
		m.aliases[name] = id
	}
}

func (d *decoder) ring(r *ring) {
	r.every = time.Duration(d.uint(8))
	if r.every < 0 {
		d.fail("rotation interval")
	}
	last := uint32(0)
	for n := d.count(13, maxVersions); n > 0 && d.err == nil; n-- {
		v := &version{number: uint32(d.uint(4)), created: d.time()}
		if v.number <= last {
			d.fail("versions out of order")
		}
		last = v.number
		switch has := d.uint(1); has {
		case 0:
		case 1:
			d.material(v)
		default:
			d.fail("material %d", has)
		}
		r.versions = append(r.versions, v)
	}
}

// material reads the key of v.
func (d *decoder) material(v *version) {
	p := d.bytes(materialSize)
	if d.err != nil {
		return
	}
	if v.key, d.err = crypto.KeyFromBytes(p); d.err == nil {
		d.loaded = append(d.loaded, v.key)
		v.aead, d.err = crypto.NewAEAD(v.key)
	}
}

func (d *decoder) key(k *cmk) {
	k.id = formatID([16]byte(d.bytes(16)))
	k.origin = Origin(d.uint(1))
	flags := d.uint(1)
	k.managed = flags&flagManaged != 0
	k.protected = flags&flagProtected != 0
	k.disabled = flags&flagDisabled != 0
	k.imported.expired = flags&flagExpired != 0
	k.creator = uint32(d.uint(4))
	k.created = d.time()
	k.deletion = d.time()
	k.deleted = d.time()
	k.description = d.text(maxDescription)
	k.region = d.text(maxRegion)
	d.ring(&k.ring)
	for n := d.count(6, maxGrants); n > 0 && d.err == nil; n-- {
		g := Grant{Kind: GrantKind(d.uint(1)), ID: uint32(d.uint(4)), Ops: Op(d.uint(1))}
		if g.check() != nil || len(k.grants) > 0 && compareGrants(k.grants[len(k.grants)-1], g) >= 0 {
			d.fail("grants of key %s", k.id)
		}
		k.grants = append(k.grants, g)
	}
	external := k.origin == OriginExternal
	if external {
		d.imported(&k.imported, flags&flagImport != 0)
	}
	d.checkKey(k, flags)
}

func (d *decoder) imported(i *imported, open bool) {
	i.fingerprint = [32]byte(d.bytes(32))
	i.expires = d.time()
	if open {
		i.token = [32]byte(d.bytes(32))
		i.tokenEnds = d.time()
		i.private = append([]byte{}, d.bytes(int(d.uint(2)))...)
	}
}

// checkKey refuses what no Service writes.
func (d *decoder) checkKey(k *cmk, flags uint64) {
	external := k.origin == OriginExternal
	switch {
	case d.err != nil:
	case flags&^flagsKnown != 0:
		d.fail("unknown flags %#x of key %s", flags, k.id)
	case k.origin != OriginKMS && !external:
		d.fail("origin %d of key %s", k.origin, k.id)
	case checkDescription(k.description) != nil || checkRegion(k.region) != nil:
		d.fail("description or region of key %s", k.id)
	case !k.deleted.IsZero() && (len(k.versions) > 0 || len(k.grants) > 0 || flags&flagImport != 0):
		d.fail("deleted key %s is not empty", k.id)
	case !external && k.deleted.IsZero() && !k.hasMaterial():
		d.fail("key %s has no material", k.id)
	case !external && flags&(flagExpired|flagImport) != 0,
		external && (len(k.versions) > 1 || k.every != 0),
		flags&flagExpired != 0 && k.hasMaterial():
		d.fail("key %s does not fit its origin", k.id)
	}
}
