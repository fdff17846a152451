package mountopt

import (
	"fmt"
	"path/filepath"
	"strings"
)

// Helper is the command line of a mount helper: mount.fuse.ssefs SPEC DIR [-sfnv] [-N ns] [-o opts] [-t type].
type Helper struct {
	Store      string
	Mountpoint string
	Sloppy     bool // -s: unknown options are ignored
	Fake       bool // -f: check everything, mount nothing
	Verbose    bool // -v
	Lists      []string
}

// IsHelper tells whether a program called by this name (argv[0]) acts as a mount helper.
func IsHelper(argv0 string) bool {
	switch filepath.Base(argv0) {
	case "mount.fuse.ssefs", "mount.ssefs":
		return true
	}
	return false
}

// ParseHelper reads a helper's arguments, without argv[0]. It takes them in any order, as mount(8) and
// mount.fuse3(8) write them differently.
func ParseHelper(args []string) (Helper, error) {
	var h Helper
	var operands []string
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if len(arg) < 2 || arg[0] != '-' {
			operands = append(operands, arg)
			continue
		}
		for j := 1; j < len(arg); j++ {
			switch arg[j] {
			case 's':
				h.Sloppy = true
			case 'f':
				h.Fake = true
			case 'v':
				h.Verbose = true
			case 'n':
				// No entry in mtab: there is none to leave out.
			case 'o', 't', 'N':
				value := arg[j+1:]
				if value == "" {
					i++
					if i == len(args) {
						return h, fmt.Errorf("option -%c needs a value", arg[j])
					}
					value = args[i]
				}
				if arg[j] == 'o' {
					h.Lists = append(h.Lists, value)
				}
				j = len(arg)
			default:
				return h, fmt.Errorf("unknown option -%c", arg[j])
			}
		}
	}
	if len(operands) != 2 {
		return h, fmt.Errorf("need a store and a mount point, got %d arguments", len(operands))
	}
	h.Store = strings.TrimPrefix(operands[0], "ssefs#")
	h.Mountpoint = operands[1]
	return h, nil
}

// Options applies the helper's lists to the defaults of mount(8).
func (h Helper) Options() (Options, error) {
	o := systemDefaults()
	parse := o.Parse
	if h.Sloppy {
		parse = o.parseSloppy
	}
	for _, list := range h.Lists {
		if err := parse(list); err != nil {
			return o, err
		}
	}
	return o, nil
}
