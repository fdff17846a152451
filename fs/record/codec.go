package record

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrFormat is returned for bytes that are not a record of the expected kind.
var ErrFormat = errors.New("record is not well formed")

func formatError(format string, a ...any) error {
	return fmt.Errorf("%w: %s", ErrFormat, fmt.Sprintf(format, a...))
}

// layout is the first byte of every record's plaintext. A change of the layout
// of a kind takes a new number for that kind and a feature in the volume header,
// so that programs that do not know it refuse the volume.
const layout = 1

// encoder appends fields to a buffer. Integers are unsigned varints unless a
// method says otherwise; byte strings are preceded by their length.
type encoder struct{ b []byte }

func newEncoder(dst []byte, version uint64) encoder {
	return encoder{binary.BigEndian.AppendUint64(append(dst, layout), version)}
}

func (e *encoder) uint(v uint64)   { e.b = binary.AppendUvarint(e.b, v) }
func (e *encoder) int(v int64)     { e.b = binary.AppendVarint(e.b, v) }
func (e *encoder) fixed(v []byte)  { e.b = append(e.b, v...) }
func (e *encoder) bytes(v []byte)  { e.uint(uint64(len(v))); e.fixed(v) }
func (e *encoder) string(v string) { e.uint(uint64(len(v))); e.b = append(e.b, v...) }
func (e *encoder) byte(v byte)     { e.b = append(e.b, v) }

// decoder reads what encoder wrote. The first failure sticks: further reads
// return zero values, and finish reports it.
type decoder struct {
	b   []byte
	err error
}

// newDecoder checks the layout byte and returns the record's version.
func newDecoder(b []byte) (d decoder, version uint64) {
	if len(b) < 9 {
		return decoder{err: formatError("%d bytes", len(b))}, 0
	}
	if b[0] != layout {
		return decoder{err: formatError("layout %d", b[0])}, 0
	}
	return decoder{b: b[9:]}, binary.BigEndian.Uint64(b[1:])
}

func (d *decoder) fail(format string, a ...any) {
	if d.err == nil {
		d.err = formatError(format, a...)
	}
	d.b = nil
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 || n > 1 && d.b[n-1] == 0 { // not the shortest form
		d.fail("bad number")
		return 0
	}
	d.b = d.b[n:]
	return v
}

// bounded reads a number that must not be above limit.
func (d *decoder) bounded(limit uint64, what string) uint64 {
	v := d.uint()
	if v > limit {
		d.fail("%s is %d", what, v)
		return 0
	}
	return v
}

func (d *decoder) int() int64 {
	v := d.uint()
	return int64(v>>1) ^ -int64(v&1)
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.fail("cut short")
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

// fixed reads n bytes. The result lies in the input.
func (d *decoder) fixed(n int) []byte {
	if n > len(d.b) {
		d.fail("cut short")
		return make([]byte, min(n, 64))
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

// bytes reads a byte string of at most limit bytes into memory of its own.
func (d *decoder) bytes(limit int, what string) []byte {
	n := d.bounded(uint64(limit), what)
	if n == 0 {
		return nil
	}
	if n > uint64(len(d.b)) {
		d.fail("cut short")
		return nil
	}
	return append([]byte(nil), d.fixed(int(n))...)
}

// count reads the number of elements that follow, each of at least size bytes.
func (d *decoder) count(limit, size int, what string) int {
	n := d.bounded(uint64(limit), what)
	if n*uint64(size) > uint64(len(d.b)) {
		d.fail("%s is %d in %d bytes", what, n, len(d.b))
		return 0
	}
	return int(n)
}

func (d *decoder) finish() error {
	if d.err == nil && len(d.b) > 0 {
		d.fail("%d bytes too many", len(d.b))
	}
	return d.err
}
