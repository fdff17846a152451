package model

// Effect is what an operation did to the contents of one file, as far as it matters for what a crash may leave.
type Effect int

const (
	// Wrote pages in the kernel's cache; each reaches the daemon alone, at any later time.
	Wrote Effect = iota
	// WroteMapped is Wrote through a mapping: a page may even be caught halfway.
	WroteMapped
	// WroteThrough pages are at the daemon already (O_DIRECT).
	WroteThrough
	// Flushed all dirty pages to the daemon (close, chmod, chown, utimes).
	Flushed
	// Synced is Flushed, and durable (fsync).
	Synced
	// SyncedRange made the pages of a range durable, and all metadata (O_SYNC, msync).
	SyncedRange
	// Truncated by the daemon itself: the file was cut or grew to Len.
	Truncated
	// Zeroed by the daemon itself; if Grown is not 0 the file grew to at least that.
	Zeroed
	// Replaced another file by a rename: what the daemon has of this one is durable with its new name.
	Replaced
)

// Change is the effect of an operation on the contents of a file.
type Change struct {
	File     ID
	Effect   Effect
	Off, Len int64
	Grown    int64
}

// covers says whether the change touches bytes of a page.
func (c Change) covers(page int64) bool {
	return c.Off < (page+1)*PageSize && c.Off+c.Len > page*PageSize
}

// step is one operation since the last barrier.
type step struct {
	state   *FS // after it
	changes []Change
	// namespace is false for operations that only changed contents.
	namespace bool
}

// History lists what happened to a tree since it was last durable as a whole, and tells which states a drive may have
// after a crash. It is for one goroutine.
type History struct {
	base    *FS
	steps   []step
	durable int // number of steps whose namespace changes are acknowledged as durable
	// committed is the number of steps of which the daemon has made durable, by itself, what reached it.
	committed int
}

// NewHistory begins with a tree that is durable as a whole.
func NewHistory(durable *FS) *History { return &History{base: durable.Clone()} }

// Barrier says that everything is durable now.
func (h *History) Barrier(now *FS) { *h = *NewHistory(now) }

// Add notes an operation by the state it led to. Namespace says whether names or attributes changed.
func (h *History) Add(after *FS, namespace bool, changes ...Change) {
	h.steps = append(h.steps, step{state: after.Clone(), namespace: namespace, changes: changes})
	for _, c := range changes {
		if c.Effect == Synced || c.Effect == SyncedRange {
			h.SyncNode(c.File)
		}
	}
}

// Committed says that the daemon has committed what it had of all operations so far, without having been asked.
func (h *History) Committed() { h.committed = len(h.steps) }

// SyncNode says that a file or directory was synced: its last change is durable, and so are all changes of names and
// attributes before that.
func (h *History) SyncNode(id ID) {
	for i := len(h.steps); i > h.durable; i-- {
		if h.steps[i-1].modifies(id) || h.state(i).Node(id) != h.state(i-1).Node(id) {
			h.durable = i
			return
		}
	}
}

// Untouched reports whether nothing that can be in a cut changed a node since the last barrier.
func (h *History) Untouched(c Cut, id ID) bool {
	return h.base.Node(id) != nil && h.state(c.limit).Node(id) == h.base.Node(id)
}

// Len returns the number of operations since the last barrier.
func (h *History) Len() int { return len(h.steps) }

// Cut is a namespace that a crash may leave.
type Cut struct {
	FS *FS
	// last is the number of steps whose changes of names are in FS; limit is the number of steps that can have had
	// any effect, since the next one changed names and is not there.
	last, limit int
}

// Cuts lists the namespaces that a crash may leave, newest first.
func (h *History) Cuts() []Cut {
	oldest := h.durable
	for i, s := range h.steps[:h.committed] {
		if s.namespace {
			oldest = max(oldest, i+1)
		}
	}
	var cuts []Cut
	limit := len(h.steps)
	for i := len(h.steps); i >= 0; i-- {
		if i > 0 && !h.steps[i-1].namespace && i > oldest {
			continue // the same names as the step before it
		}
		cuts = append(cuts, Cut{FS: h.state(i), last: i, limit: limit})
		if i <= oldest {
			break
		}
		limit = i - 1
	}
	return cuts
}

// state returns the tree after n steps.
func (h *History) state(n int) *FS {
	if n == 0 {
		return h.base
	}
	return h.steps[n-1].state
}

// Explains reports whether a file of a cut may have the given contents after a crash: there has to be one moment, not
// before the last acknowledgement and not after the cut, at which the daemon can have had them.
func (h *History) Explains(c Cut, file ID, got *Data) bool {
	earliest := h.earliest(c, file)
	for moment := c.limit; moment >= earliest; moment-- {
		if moment > earliest && !h.steps[moment-1].concerns(file) {
			continue // as one step earlier
		}
		if h.possible(file, moment, got) {
			return true
		}
	}
	return false
}

func (s step) concerns(file ID) bool {
	for _, c := range s.changes {
		if c.File == file {
			return true
		}
	}
	return false
}

// modifies says whether the step changed contents, rather than only moving them on.
func (s step) modifies(file ID) bool {
	for _, c := range s.changes {
		if c.File == file && c.Effect != Flushed && c.Effect != Synced && c.Effect != SyncedRange {
			return true
		}
	}
	return false
}

// earliest returns the first moment, in steps, that the contents of a file may be of after a crash.
func (h *History) earliest(c Cut, file ID) int {
	first := 0
	for i, s := range h.steps[:c.limit] {
		if i < c.last && h.state(i).Node(file) == nil {
			first = i + 1 // it did not exist yet
		}
		for _, ch := range s.changes {
			if ch.File != file {
				continue
			}
			switch ch.Effect {
			case Synced, SyncedRange:
				first = i + 1
			case Replaced:
				if i < c.last {
					first = i + 1
				}
			case Wrote, WroteMapped:
			default: // at the daemon since then
				if i < h.committed {
					first = i + 1
				}
			}
		}
	}
	return first
}

// possible reports whether the daemon can have had the given contents of a file after a number of steps.
func (h *History) possible(file ID, moment int, got *Data) bool {
	if !h.possibleSize(file, moment, got.Size()) {
		return false
	}
	pages := map[int64]bool{}
	for i := range moment + 1 {
		if n := h.state(i).Node(file); n != nil {
			for _, p := range n.Data.Pages() {
				pages[p] = true
			}
		}
	}
	for _, p := range got.Pages() {
		pages[p] = true
	}
	for p := range pages {
		if p*PageSize < got.Size() && !h.possiblePage(file, moment, p, got) {
			return false
		}
	}
	return true
}

// data returns the contents of a file after n steps, nil before it existed.
func (h *History) data(file ID, n int) *Data {
	if node := h.state(n).Node(file); node != nil {
		return node.Data
	}
	return nil
}

// possibleSize follows the sizes that the daemon can know. The kernel tells it of growth page by page.
func (h *History) possibleSize(file ID, moment int, size int64) bool {
	first := h.data(file, 0).Size()
	exact := map[int64]bool{first: true}
	paged := [2]int64{first, first} // any multiple of the page size from [0] to [1]
	for i, s := range h.steps[:moment] {
		for _, c := range s.changes {
			if c.File != file {
				continue
			}
			now := h.data(file, i+1).Size()
			switch c.Effect {
			case Wrote, WroteMapped:
				exact[now] = true
				exact[min(now, c.Off+c.Len)] = true // a step can have several writes
				paged[1] = max(paged[1], now)
			case WroteThrough, SyncedRange, Zeroed:
				end := c.Grown
				if c.Effect != Zeroed {
					end = min(c.Off+c.Len, now)
				}
				grown := map[int64]bool{now: true}
				for x := range exact {
					grown[max(x, end)] = true
				}
				exact = grown
				if end > paged[0] {
					exact[end] = true
					paged[0] = end
					paged[1] = max(paged[1], end)
				}
			case Flushed, Synced:
				exact, paged = map[int64]bool{now: true}, [2]int64{now, now}
			case Truncated:
				exact, paged = map[int64]bool{c.Len: true}, [2]int64{c.Len, c.Len}
			case Replaced:
			}
		}
	}
	return exact[size] || size%PageSize == 0 && size >= paged[0] && size <= paged[1]
}

// possiblePage follows the contents of one page that the daemon can have.
func (h *History) possiblePage(file ID, moment int, page int64, got *Data) bool {
	set := []*Page{h.data(file, 0).Page(page)}
	torn := false
	for i, s := range h.steps[:moment] {
		for _, c := range s.changes {
			if c.File != file {
				continue
			}
			now := h.data(file, i+1).Page(page)
			switch c.Effect {
			case Wrote:
				if c.covers(page) {
					set = append(set, now)
				}
			case WroteMapped:
				if c.covers(page) {
					set, torn = append(set, now), true
				}
			case WroteThrough, SyncedRange:
				if c.covers(page) {
					set, torn = []*Page{now}, false
				}
			case Flushed, Synced:
				set, torn = []*Page{now}, false
			case Truncated:
				set = each(set, page, func(d *Data) *Data { return d.Truncate(c.Len) })
			case Zeroed:
				set = each(set, page, func(d *Data) *Data { return d.Zero(c.Off, c.Len) })
			case Replaced:
			}
		}
	}
	// Beyond the end a page reads as zeros, whatever was written there.
	want := each(set, page, func(d *Data) *Data { return d.Truncate(got.Size()) })
	have := got.Page(page)
	for _, p := range want {
		if samePage(p, have) {
			return true
		}
	}
	return torn && mixture(want, have)
}

// each applies a change of a whole file to versions of one of its pages.
func each(set []*Page, page int64, change func(*Data) *Data) []*Page {
	out := make([]*Page, 0, len(set))
	for _, p := range set {
		d := &Data{size: (page + 1) * PageSize, pages: map[int64]*Page{}}
		if p != nil {
			d.pages[page] = p
		}
		out = append(out, change(d).Page(page))
	}
	return out
}

// mixture reports whether each byte of a page is that of one of its versions.
func mixture(set []*Page, have *Page) bool {
	var zero Page
	if have == nil {
		have = &zero
	}
	for i := range have {
		found := false
		for _, p := range set {
			if p == nil {
				p = &zero
			}
			if p[i] == have[i] {
				found = true
				break
			}
		}
		if !found {
			return false
		}
	}
	return true
}
