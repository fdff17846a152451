package store

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// Tests that may end the process, or mean to, run in a child: the test binary
// itself with the name of the child in the environment.
const (
	childEnv = "SSEFS_STORE_TEST_CHILD"
	childArg = "SSEFS_STORE_TEST_ARG"
)

// children maps names to what a child does with its argument.
func children() map[string]func(arg string) error {
	return map[string]func(string) error{
		"fill":          childFill,
		"commitForever": childCommitForever,
		"churnForever":  childChurnForever,
		"create":        childCreate,
		"unreadable":    childUnreadable,
	}
}

func TestMain(m *testing.M) {
	name := os.Getenv(childEnv)
	if name == "" {
		os.Exit(m.Run())
	}
	run, ok := children()[name]
	if !ok {
		fmt.Fprintln(os.Stderr, "no such child:", name)
		os.Exit(2)
	}
	if err := run(os.Getenv(childArg)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// child returns a command that runs the named child.
func child(t testing.TB, name, arg string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childEnv+"="+name, childArg+"="+arg)
	return cmd
}

// runChild runs a child to its end.
func runChild(t testing.TB, name, arg string) string {
	t.Helper()
	out, err := child(t, name, arg).CombinedOutput()
	if err != nil {
		t.Fatalf("child %s: %v\n%s", name, err, out)
	}
	return string(out)
}

// create makes and opens a store without cleanup, for children.
func create(path string, opt Options) (*Dir, *DB, error) {
	d, db, err := createPlain(path, opt)
	if err == nil {
		db.StartJournal()
	}
	return d, db, err
}

// createPlain is create without a journal: each commit is a transaction.
func createPlain(path string, opt Options) (*Dir, *DB, error) {
	d, err := CreateDir(path)
	if err != nil {
		return nil, nil, err
	}
	db, err := d.OpenDB(opt)
	if err != nil {
		return nil, nil, err
	}
	if d.IsNew() {
		if err := errors.Join(d.WriteFile(HeaderFile, []byte("header")), d.FinishCreate()); err != nil {
			return nil, nil, err
		}
	}
	return d, db, nil
}

func closeBoth(d *Dir, db *DB) error { return errors.Join(db.Close(), d.Close()) }
