package model

import "bytes"

// PageSize is the granularity in which the kernel writes dirty data back, and so the one in which a crash may mix old
// and new contents of a file.
const PageSize = 4096

// Page is the contents of one page.
type Page [PageSize]byte

// Data is the contents of a file: sparse, absent pages are zeros. A Data is never modified; the methods return new
// ones that share what did not change. Bytes of the last page beyond the size are zero.
type Data struct {
	size  int64
	pages map[int64]*Page
}

// Size returns the length in bytes.
func (d *Data) Size() int64 {
	if d == nil {
		return 0
	}
	return d.size
}

// Page returns a page, or nil for zeros. The caller must not modify it.
func (d *Data) Page(index int64) *Page {
	if d == nil {
		return nil
	}
	return d.pages[index]
}

// Pages returns the indices of the pages that are not absent, in no order.
func (d *Data) Pages() []int64 {
	if d == nil {
		return nil
	}
	list := make([]int64, 0, len(d.pages))
	for i := range d.pages {
		list = append(list, i)
	}
	return list
}

// Read returns the bytes from off up to n of them or the end.
func (d *Data) Read(off int64, n int) []byte {
	if off >= d.Size() {
		return nil
	}
	out := make([]byte, min(int64(n), d.size-off))
	for done := 0; done < len(out); {
		pos := off + int64(done)
		at := int(pos % PageSize)
		step := min(PageSize-at, len(out)-done)
		if p := d.pages[pos/PageSize]; p != nil {
			copy(out[done:done+step], p[at:])
		}
		done += step
	}
	return out
}

// Write returns the contents with b written at off.
func (d *Data) Write(off int64, b []byte) *Data {
	if len(b) == 0 {
		return d
	}
	n := d.clone()
	for done := 0; done < len(b); {
		pos := off + int64(done)
		at := int(pos % PageSize)
		step := min(PageSize-at, len(b)-done)
		p := n.edit(pos / PageSize)
		copy(p[at:], b[done:done+step])
		done += step
	}
	n.size = max(n.size, off+int64(len(b)))
	return n
}

// Truncate returns the contents cut or grown to size.
func (d *Data) Truncate(size int64) *Data {
	n := d.clone()
	if size < n.size {
		for i := range n.pages {
			if i*PageSize >= size {
				delete(n.pages, i)
			}
		}
		if at := size % PageSize; at != 0 && n.pages[size/PageSize] != nil {
			clear(n.edit(size / PageSize)[at:])
		}
	}
	n.size = size
	return n
}

// Zero returns the contents with zeros in a range; the size stays, and nothing happens beyond it.
func (d *Data) Zero(off, length int64) *Data {
	n := d.clone()
	end := off + length
	for i := range n.pages {
		from, to := max(off, i*PageSize), min(end, (i+1)*PageSize)
		switch {
		case from >= to:
		case to-from == PageSize:
			delete(n.pages, i)
		default:
			clear(n.edit(i)[from-i*PageSize : to-i*PageSize])
		}
	}
	return n
}

// Equal compares sizes and bytes.
func (d *Data) Equal(o *Data) bool {
	if d.Size() != o.Size() {
		return false
	}
	for _, side := range []*Data{d, o} {
		for _, i := range side.Pages() {
			if !samePage(d.Page(i), o.Page(i)) {
				return false
			}
		}
	}
	return true
}

// samePage compares two pages, nil being zeros.
func samePage(a, b *Page) bool {
	var zero Page
	switch {
	case a == b:
		return true
	case a == nil:
		a = &zero
	case b == nil:
		b = &zero
	}
	return bytes.Equal(a[:], b[:])
}

// clone copies the map; the pages stay shared.
func (d *Data) clone() *Data {
	n := &Data{pages: map[int64]*Page{}}
	if d != nil {
		n.size = d.size
		for i, p := range d.pages {
			n.pages[i] = p
		}
	}
	return n
}

// edit gives n a page of its own at index. To be called on a fresh clone only.
func (d *Data) edit(index int64) *Page {
	p := new(Page)
	if old := d.pages[index]; old != nil {
		*p = *old
	}
	d.pages[index] = p
	return p
}
