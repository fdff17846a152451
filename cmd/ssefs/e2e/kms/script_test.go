package kms

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"
)

// TestScripts runs the scripts in testdata, each on a new volume, mounted and unmounted. A line is one of
//
//	ssefs ARG...         a command that has to succeed
//	! CODE ARG...        one that has to be refused with an exit code, and to say why in one line
//	stdout REGEXP        what the last command printed has to match; with "! " before it, must not
//	stderr REGEXP
//	set NAME FIELD       $NAME is a field of the JSON that the last command printed
//
// Words are separated by blanks, or between single quotes; $NAME is replaced in all, $WORK is a directory for files.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 8 {
		t.Fatalf("%d scripts, %v", len(files), err)
	}
	for _, file := range files {
		for _, mode := range []string{"mounted", "unmounted"} {
			t.Run(strings.TrimSuffix(filepath.Base(file), ".txt")+"/"+mode, func(t *testing.T) {
				d := drive.New(t, drive.Options{})
				s := script{t: t, d: d, vars: map[string]string{"WORK": t.TempDir()}}
				if mode == "unmounted" {
					d.Unmount()
					s.more = []string{"--key-file", d.KeyFile()}
				}
				text, err := os.ReadFile(file)
				expect.OK(t, err, "read %s", file)
				for i, line := range strings.Split(string(text), "\n") {
					if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
						continue
					}
					if err := s.run(line); err != nil {
						t.Fatalf("%s:%d: %s: %v", file, i+1, line, err)
					}
				}
			})
		}
	}
}

type script struct {
	t    *testing.T
	d    *drive.Drive
	more []string // arguments of every command
	vars map[string]string
	last drive.Result
}

var word = regexp.MustCompile(`'[^']*'|[^ ']+`)

func (s *script) run(line string) error {
	var words []string
	for _, w := range word.FindAllString(line, -1) {
		words = append(words, os.Expand(strings.Trim(w, "'"), func(name string) string { return s.vars[name] }))
	}
	rest := strings.TrimSpace(strings.TrimPrefix(line, words[0]))
	switch words[0] {
	case "ssefs":
		s.last = s.d.CLI(append(words[1:], s.more...)...)
		if s.last.Code != 0 {
			return fmt.Errorf("exit %d: %s", s.last.Code, s.last.Stderr)
		}
		return nil
	case "stdout":
		return s.match(s.last.Stdout, rest, true)
	case "stderr":
		return s.match(s.last.Stderr, rest, true)
	case "set":
		return s.set(words[1], words[2])
	case "!":
		if what, pattern, _ := strings.Cut(rest, " "); what == "stdout" {
			return s.match(s.last.Stdout, pattern, false)
		}
		return s.refused(words[1], words[2:])
	}
	return fmt.Errorf("no such step")
}

func (s *script) refused(code string, args []string) error {
	want, err := strconv.Atoi(code)
	if err != nil {
		return err
	}
	s.last = s.d.CLI(append(args, s.more...)...)
	if s.last.Code != want {
		return fmt.Errorf("exit %d, want %d: %s", s.last.Code, want, s.last.Stderr)
	}
	drive.OneLine(s.t, s.last)
	return nil
}

func (s *script) match(text, pattern string, want bool) error {
	re, err := regexp.Compile("(?m)" + os.Expand(strings.Trim(pattern, "'"), func(name string) string {
		if v, ok := s.vars[name]; ok {
			return v
		}
		return "$" // the end of a line
	}))
	if err != nil {
		return err
	}
	if re.MatchString(text) != want {
		return fmt.Errorf("in %q", text)
	}
	return nil
}

func (s *script) set(name, field string) error {
	var fields map[string]any
	if err := json.Unmarshal([]byte(s.last.Stdout), &fields); err != nil {
		return err
	}
	v, ok := fields[field]
	if !ok {
		return fmt.Errorf("no field %s in %s", field, s.last.Stdout)
	}
	s.vars[name] = fmt.Sprint(v)
	return nil
}
