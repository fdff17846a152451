package repair

import "fmt"

// Report says what was done, or with a Plan would be.
type Report struct {
	Actions []Action `json:"actions"`
	// Omitted counts actions after the first MaxActions.
	Omitted int `json:"omitted,omitempty"`
	// Transactions counts those that were committed.
	Transactions int `json:"transactions"`
}

// MaxActions is how many actions a report lists.
const MaxActions = 100_000

// Kind classifies actions. The values are stable, for scripts.
type Kind string

// The kinds of actions.
const (
	Lost    Kind = "lost"    // something is given up that cannot be read
	Moved   Kind = "moved"   // something gets a name in lost+found
	Made    Kind = "made"    // a record is made anew, some of whose contents are lost
	Dropped Kind = "dropped" // something is removed that should not be there
	Counted Kind = "counted" // a count or a hash is worked out anew
	Left    Kind = "left"    // something is wrong that cannot be repaired
)

// Action is one thing that was done.
type Action struct {
	Kind  Kind   `json:"kind"`
	Inode uint64 `json:"inode,omitempty"`
	// Path is where the inode was when the repair began, "" if it is not known.
	Path string `json:"path,omitempty"`
	// Range is the part of the file concerned, nil if not one part.
	Range   *Range `json:"range,omitempty"`
	Message string `json:"message"`

	dir  uint64 // set: the path is this directory's, and name
	name string
}

// Range is a range of bytes of a file.
type Range struct {
	Offset uint64 `json:"offset"`
	Length uint64 `json:"length"`
}

// String describes the action in one line.
func (a *Action) String() string {
	where := a.Path
	if where == "" {
		where = "volume"
	}
	if a.Range != nil {
		where += fmt.Sprintf(" [bytes %d to %d]", a.Range.Offset, a.Range.Offset+a.Range.Length-1)
	}
	return fmt.Sprintf("%s: %s: %s", a.Kind, where, a.Message)
}

// act notes an action.
func (r *repairer) act(a Action) {
	r.work = true
	if len(r.report.Actions) >= MaxActions {
		r.report.Omitted++
		return
	}
	r.report.Actions = append(r.report.Actions, a)
}

// note is act for an inode, or for the volume if ino is 0.
func (r *repairer) note(kind Kind, ino uint64, format string, a ...any) {
	r.act(Action{Kind: kind, Inode: ino, Message: fmt.Sprintf(format, a...)})
}

// noteEntry is act for an entry of a directory.
func (r *repairer) noteEntry(kind Kind, dir uint64, name, format string, a ...any) {
	r.act(Action{Kind: kind, dir: dir, name: name, Message: fmt.Sprintf(format, a...)})
}
