package store

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// valueLogHeader is the size of the header of a value log file: the number of
// the key it is encrypted under, 0, and 12 random bytes.
const valueLogHeader = 20

// Bounds of cutting off what was allocated ahead in a value log file.
const (
	tailStep  = 1 << 20
	tailSlack = 4 << 10
)

// beginValueLog puts an empty file behind the newest value log file before
// Badger opens them. Badger reads the newest from the front and cuts it off at
// the first entry whose checksum is wrong (value.go, valueLog.open, in v4.9.6): one
// flipped bit would take every value behind it along, for good. What it cuts off
// of an empty file does no harm, and it never writes to an old file again.
//
// What cutting off was meant for, the unwritten rest of a file after a crash, is
// done here, as far as the rest is zeros. Badger deletes empty files that are not
// the newest.
func (db *DB) beginValueLog() error {
	entries, err := os.ReadDir(db.path())
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	var last uint32
	var fids []uint32
	for _, e := range entries {
		if n, ok := logNumber(e.Name(), extValueLog); ok {
			last = max(last, n)
			fids = append(fids, n)
		}
	}
	if last == 0 {
		return nil
	}
	if err := db.enterDiscards(fids); err != nil {
		return err
	}
	if err := cutZeros(db.valueLogPath(last)); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	header := make([]byte, valueLogHeader)
	if _, err := rand.Read(header[8:]); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if err := writeNew(db.valueLogPath(last+1), header); err != nil {
		if isFull(err) {
			return fmt.Errorf("%w: %w", ErrFull, err)
		}
		return fmt.Errorf("store: %w", err)
	}
	return syncDir(db.path())
}

// enterDiscards gives value log files an entry in the discard table, if there is
// one and the disk has room.
func (db *DB) enterDiscards(fids []uint32) error {
	t, err := openDiscardTable(filepath.Join(db.path(), fileDiscard))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err = t.enter(fids); isFull(err) {
		err = nil
	}
	return errors.Join(err, t.close())
}

func (db *DB) valueLogPath(n uint32) string {
	return filepath.Join(db.path(), fmt.Sprintf("%06d"+extValueLog, n))
}

func writeNew(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, filePerm)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

// cutZeros cuts the zeros off the end of a file. Some stay: they may be the end
// of an entry.
func cutZeros(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	end, err := endOfData(f, info.Size())
	if err == nil {
		if keep := max(end, valueLogHeader) + tailSlack; end > 0 && keep < info.Size() {
			err = f.Truncate(keep)
		}
	}
	return errors.Join(err, f.Close())
}

// endOfData returns the offset after the last byte of a file that is not zero.
func endOfData(f io.ReaderAt, size int64) (int64, error) {
	buf := make([]byte, tailStep)
	for end := size; end > 0; {
		n := min(tailStep, end)
		if _, err := f.ReadAt(buf[:n], end-n); err != nil {
			return 0, err
		}
		for i := n - 1; i >= 0; i-- {
			if buf[i] != 0 {
				return end - n + i + 1, nil
			}
		}
		end -= n
	}
	return 0, nil
}
