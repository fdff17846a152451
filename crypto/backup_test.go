package crypto

import (
	"errors"
	"testing"
)

func TestBackupTag(t *testing.T) {
	k := testKey(t, 1)
	tag, err := TagBackup(k, []byte("statement"))
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckBackup(k, []byte("statement"), tag); err != nil {
		t.Errorf("its own tag: %v", err)
	}
	other := tag
	other[31] ^= 1
	for name, err := range map[string]error{
		"another tag":       CheckBackup(k, []byte("statement"), other),
		"another statement": CheckBackup(k, []byte("statemenu"), tag),
		"a shorter one":     CheckBackup(k, []byte("statemen"), tag),
		"another key":       CheckBackup(testKey(t, 2), []byte("statement"), tag),
	} {
		if !errors.Is(err, ErrAuth) {
			t.Errorf("%s: %v", name, err)
		}
	}
	k.Wipe()
	if _, err := TagBackup(k, nil); !errors.Is(err, ErrWiped) {
		t.Errorf("wiped key: %v", err)
	}
	if err := CheckBackup(k, nil, tag); !errors.Is(err, ErrWiped) {
		t.Errorf("wiped key: %v", err)
	}
}
