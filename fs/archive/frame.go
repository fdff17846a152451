package archive

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// magic begins a backup, followed by the version of the format.
const magic = "ssefsbak"

// formatVersion is the version that is written, and the only one that is read.
const formatVersion = 1

const prefaceSize = len(magic) + 2

// kind tells what a frame holds.
type kind byte

// The kinds of frames, in the order in which they come.
const (
	kindBegin   kind = 1
	kindFile    kind = 2
	kindListing kind = 3
	kindRecords kind = 4
	kindEnd     kind = 5
)

// A frame is its kind, the length of its body, the body, and a CRC-32C of these.
const (
	frameHead = 1 + 4
	frameTail = 4
	endFrame  = frameHead + endSize + frameTail
)

// startFrame begins a frame in an empty buffer; the body is appended to it.
func startFrame(buf []byte, k kind) []byte {
	return append(buf[:0], byte(k), 0, 0, 0, 0)
}

// finishFrame completes a frame whose body was appended.
func finishFrame(buf []byte) []byte {
	binary.BigEndian.PutUint32(buf[1:], uint32(len(buf)-frameHead))
	return binary.BigEndian.AppendUint32(buf, crc32.Checksum(buf, crc32.MakeTable(crc32.Castagnoli)))
}

// readPreface reads what comes before the first frame.
func readPreface(r io.Reader) ([]byte, error) {
	b := make([]byte, prefaceSize)
	n, err := io.ReadFull(r, b)
	switch {
	case n < len(b) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return nil, err
	case n == 0:
		return nil, fmt.Errorf("%w: it is empty", ErrTruncated)
	case n < len(magic) && magic[:n] == string(b[:n]), n >= len(magic) && n < len(b) && magic == string(b[:len(magic)]):
		return nil, ErrTruncated
	case n < len(b) || string(b[:len(magic)]) != magic:
		return nil, ErrFormat
	}
	if v := binary.BigEndian.Uint16(b[len(magic):]); v != formatVersion {
		return nil, fmt.Errorf("%w: %d", ErrVersion, v)
	}
	return b, nil
}

// readBegin reads the beginning of a backup, up to the first frame, which says
// what it is of. raw is all that was read.
func readBegin(r io.Reader) (raw []byte, b Begin, err error) {
	preface, err := readPreface(r)
	if err != nil {
		return nil, b, err
	}
	frame, err := readFrame(r, nil)
	if err != nil {
		return nil, b, err
	}
	if kind(frame[0]) != kindBegin {
		return nil, b, fmt.Errorf("%w: frame of kind %d at the beginning", ErrDamaged, frame[0])
	}
	b, err = decodeBegin(frameBody(frame))
	return append(preface, frame...), b, err
}

// readFrame reads a frame into buf, which grows as its bytes come: a length is
// not to be trusted. It returns all of it.
func readFrame(r io.Reader, buf []byte) (frame []byte, err error) {
	buf = append(buf[:0], make([]byte, frameHead)...)
	if _, err := io.ReadFull(r, buf); err != nil {
		return nil, cut(err)
	}
	length := binary.BigEndian.Uint32(buf[1:])
	if length > maxBody {
		return nil, fmt.Errorf("%w: a frame of %d bytes", ErrDamaged, length)
	}
	const step = 1 << 20
	for missing := int(length) + frameTail; missing > 0; {
		n := min(missing, step)
		at := len(buf)
		buf = append(buf, make([]byte, n)...)
		if _, err := io.ReadFull(r, buf[at:]); err != nil {
			return nil, cut(err)
		}
		missing -= n
	}
	end := len(buf) - frameTail
	if crc32.Checksum(buf[:end], crc32.MakeTable(crc32.Castagnoli)) != binary.BigEndian.Uint32(buf[end:]) {
		return nil, fmt.Errorf("%w: the checksum of a frame is wrong", ErrDamaged)
	}
	return buf, nil
}

// frameBody is the body of a whole frame.
func frameBody(frame []byte) []byte { return frame[frameHead : len(frame)-frameTail] }

// cut translates the end of the stream within something.
func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrTruncated
	}
	return err
}
