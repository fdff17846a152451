package mounting

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"
)

// TestOldHeader: who puts an old volume.json back cannot mount with a key file that was removed.
func TestOldHeader(t *testing.T) {
	s := newSite(t)
	s.created()
	header, removed := s.store+"/volume.json", s.key
	old, err := os.ReadFile(header)
	expect.OK(t, err, "keep volume.json")
	second := s.base + "/second"
	s.mustMount()
	succeeded(t, drive.CLI(t, "key", "add", "--new-key-file", second, "--store", s.store), "key add while mounted")
	s.unmount()
	succeeded(t, drive.CLI(t, "key", "remove", "1", "--store", s.store, "--key-file", second), "key remove")
	current, err := os.ReadFile(header)
	expect.OK(t, err, "keep volume.json")
	failed(t, s.mount(), 3, "mount with the removed key file")
	expect.OK(t, os.WriteFile(header, old, 0o600), "put volume.json back")
	for _, extra := range [][]string{nil, {"-o", "ro"}} {
		r := s.mount(extra...)
		failed(t, r, 7, "mount with an old volume.json")
		if !strings.Contains(r.Stderr, "volume.json") || !strings.Contains(r.Stderr, "accept-header") {
			t.Errorf("the refusal tells neither what is wrong nor the remedy: %s", r.Stderr)
		}
	}
	failed(t, drive.CLI(t, "key", "list", "--store", s.store, "--key-file", removed), 7, "key list with an old volume.json")
	r := drive.CLI(t, "fsck", s.store, "--key-file", removed)
	if r.Code != 4 || !strings.Contains(r.Stdout, "volume.json") {
		t.Errorf("fsck with an old volume.json: exit %d: %s%s", r.Code, r.Stdout, r.Stderr)
	}
	expect.OK(t, os.WriteFile(header, current, 0o600), "put the current volume.json back")
	failed(t, drive.CLI(t, "key", "accept-header", "--store", s.store, "--key-file", second), 1, "accepting the current volume.json")
	s.key = second
	s.mustMount()
	failed(t, drive.CLI(t, "key", "accept-header", "--store", s.store, "--key-file", second), 4, "accepting while mounted")
	s.unmount()
	expect.OK(t, os.WriteFile(header, old, 0o600), "put volume.json back")
	succeeded(t, drive.CLI(t, "key", "accept-header", "--store", s.store, "--key-file", removed), "accept-header")
	s.key = removed
	s.mustMount()
	s.unmount()
}

// slotNumbers returns the numbers of the three slots that key list --json tells.
func slotNumbers(t *testing.T, out string) []int {
	t.Helper()
	var slots []struct {
		Slot int `json:"slot"`
	}
	expect.OK(t, json.Unmarshal([]byte(out), &slots), "parse %q", out)
	if len(slots) != 3 {
		t.Fatalf("key list --json tells %d slots, want 3", len(slots))
	}
	var numbers []int
	for _, s := range slots {
		numbers = append(numbers, s.Slot)
	}
	return numbers
}
