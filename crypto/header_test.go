package crypto

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// cheap are the smallest costs that Argon2 allows.
func cheap() Argon2Params { return Argon2Params{Time: 1, MemoryKiB: 8, Threads: 1} }

// testVolume is a volume with a passphrase in slot 1 and a key file in slot 2.
type testVolume struct {
	root    *Key
	keys    *VolumeKeys
	keyFile []byte
	header  *Header
	bytes   []byte
}

func newTestVolume(t testing.TB) *testVolume {
	t.Helper()
	v := &testVolume{root: testKey(t, 1), keyFile: bytes.Repeat([]byte{0xaa}, MinKeyFileSize), header: NewHeader(VolumeID{1})}
	var err error
	if v.keys, err = DeriveVolumeKeys(v.root, v.header.Volume()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.keys.Wipe)
	v.add(t, v.header, SlotPassphrase, "secret", "a \"label\" with \\ and é")
	v.add(t, v.header, SlotKeyFile, string(v.keyFile), "")
	v.bytes = v.marshal(t, v.header)
	return v
}

func (v *testVolume) add(t testing.TB, h *Header, kind SlotKind, secret, label string) int {
	t.Helper()
	id, err := h.AddSlot(v.root, kind, []byte(secret), label, cheap())
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func (v *testVolume) marshal(t testing.TB, h *Header) []byte {
	t.Helper()
	b, err := h.Marshal(v.keys)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func parse(t testing.TB, b []byte) *Header {
	t.Helper()
	h, err := ParseHeader(b)
	if err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	return h
}

// opens fails the test unless the secret opens that slot to the root key.
func (v *testVolume) opens(t testing.TB, h *Header, s Secret, slot int) {
	t.Helper()
	root, id, err := h.Unlock(s)
	if err != nil || id != slot || !root.Equal(v.root) {
		t.Errorf("slot %d, want %d, right key: %v, %v", id, slot, root.Equal(v.root), err)
	}
	root.Wipe()
}

func passphrase(s string) Secret { return PassphraseSecret([]byte(s)) }

func TestHeader(t *testing.T) {
	v := newTestVolume(t)
	if !json.Valid(v.bytes) {
		t.Errorf("not JSON: %s", v.bytes)
	}
	h := parse(t, v.bytes)
	if h.Volume() != v.header.Volume() || h.Generation() != 2 || len(h.Features()) != 0 {
		t.Errorf("header is %+v", h)
	}
	want := []SlotInfo{
		{ID: 1, Kind: SlotPassphrase, Label: "a \"label\" with \\ and é", Argon2: cheap()},
		{ID: 2, Kind: SlotKeyFile},
	}
	if got := h.Slots(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("slots are %+v, want %+v", got, want)
	}
	if again := v.marshal(t, h); !bytes.Equal(again, v.bytes) {
		t.Errorf("encoded again as\n%s, was\n%s", again, v.bytes)
	}
	for _, h := range []*Header{h, v.header} {
		v.opens(t, h, passphrase("secret"), 1)
		v.opens(t, h, KeyFileSecret(v.keyFile), 2)
	}
	for what, s := range map[string]Secret{
		"wrong passphrase":        passphrase("Secret"),
		"longer passphrase":       passphrase("secret\n"),
		"empty passphrase":        passphrase(""),
		"wrong key file":          KeyFileSecret(make([]byte, MinKeyFileSize)),
		"longer key file":         KeyFileSecret(append(bytes.Clone(v.keyFile), 0)),
		"empty key file":          KeyFileSecret(nil),
		"passphrase as key file":  KeyFileSecret([]byte("secret")),
		"key file as passphrase":  PassphraseSecret(v.keyFile),
		"no secret":               {},
		"huge key file":           KeyFileSecret(make([]byte, MaxKeyFileSize+1)),
		"key file with few bytes": KeyFileSecret(v.keyFile[:MinKeyFileSize-1]),
	} {
		if root, id, err := h.Unlock(s); !errors.Is(err, ErrWrongSecret) || root != nil || id != 0 {
			t.Errorf("%s: slot %d, %v", what, id, err)
		}
	}
}

func TestHeaderSlots(t *testing.T) {
	v := newTestVolume(t)
	h := parse(t, v.bytes)
	if id := v.add(t, h, SlotPassphrase, "second", "x"); id != 3 {
		t.Errorf("new slot is %d", id)
	}
	if err := h.RemoveSlot(3); err != nil {
		t.Fatal(err)
	}
	if id := v.add(t, h, SlotPassphrase, "third", "x"); id != 4 {
		t.Errorf("slot after removal is %d, numbers are used again", id)
	}
	if err := h.RemoveSlot(1); err != nil {
		t.Fatal(err)
	}
	h = parse(t, v.marshal(t, h))
	if h.Generation() != 6 {
		t.Errorf("generation is %d after 6 changes", h.Generation())
	}
	for _, step := range []struct{ past, want uint64 }{{5, 6}, {6, 7}, {20, 21}, {3, 21}} {
		if h.Advance(step.past); h.Generation() != step.want {
			t.Errorf("generation is %d, advanced past %d", h.Generation(), step.past)
		}
	}
	v.opens(t, h, passphrase("third"), 4)
	v.opens(t, h, KeyFileSecret(v.keyFile), 2)
	for _, gone := range []string{"secret", "second"} {
		if _, _, err := h.Unlock(passphrase(gone)); !errors.Is(err, ErrWrongSecret) {
			t.Errorf("removed %q: %v", gone, err)
		}
	}
	for _, id := range []int{0, 1, 3, 5, -1} {
		if err := h.RemoveSlot(id); !errors.Is(err, ErrNoSlot) {
			t.Errorf("removing %d: %v", id, err)
		}
	}
	if err := h.RemoveSlot(4); err != nil {
		t.Fatal(err)
	}
	if err := h.RemoveSlot(2); !errors.Is(err, ErrLastSlot) {
		t.Errorf("removing the last: %v", err)
	}
	for len(h.Slots()) < maxSlots {
		v.add(t, h, SlotKeyFile, string(v.keyFile), "")
	}
	if _, err := h.AddSlot(v.root, SlotKeyFile, v.keyFile, "", cheap()); !errors.Is(err, ErrTooManySlots) {
		t.Errorf("slot %d: %v", maxSlots+1, err)
	}
	if b := v.marshal(t, h); len(b) > maxHeaderSize {
		t.Errorf("a full header has %d bytes", len(b))
	} else {
		parse(t, b)
	}
}

func TestHeaderAddSlotRefuses(t *testing.T) {
	v := newTestVolume(t)
	gone := testKey(t, 1)
	gone.Wipe()
	type call struct {
		root   *Key
		kind   SlotKind
		secret string
		label  string
		params Argon2Params
		want   error
	}
	key := string(v.keyFile)
	for what, c := range map[string]call{
		"other root key":     {testKey(t, 2), SlotKeyFile, key, "", cheap(), ErrAuth},
		"wiped root key":     {gone, SlotKeyFile, key, "", cheap(), ErrWiped},
		"no kind":            {v.root, 0, key, "", cheap(), ErrFormat},
		"unknown kind":       {v.root, 3, key, "", cheap(), ErrFormat},
		"empty passphrase":   {v.root, SlotPassphrase, "", "", cheap(), ErrBadSecret},
		"short key file":     {v.root, SlotKeyFile, key[1:], "", cheap(), ErrBadSecret},
		"long key file":      {v.root, SlotKeyFile, strings.Repeat("x", MaxKeyFileSize+1), "", cheap(), ErrBadSecret},
		"long label":         {v.root, SlotPassphrase, "x", strings.Repeat("x", 65), cheap(), ErrFormat},
		"newline in label":   {v.root, SlotPassphrase, "x", "a\nb", cheap(), ErrFormat},
		"escape in label":    {v.root, SlotPassphrase, "x", "\x1b[31m", cheap(), ErrFormat},
		"C1 in label":        {v.root, SlotPassphrase, "x", "\u009b", cheap(), ErrFormat},
		"bidi in label":      {v.root, SlotPassphrase, "x", "\u202e", cheap(), ErrFormat},
		"label not UTF-8":    {v.root, SlotPassphrase, "x", "\xff", cheap(), ErrFormat},
		"no costs":           {v.root, SlotPassphrase, "x", "", Argon2Params{}, ErrFormat},
		"no passes":          {v.root, SlotPassphrase, "x", "", Argon2Params{0, 8, 1}, ErrFormat},
		"too many passes":    {v.root, SlotPassphrase, "x", "", Argon2Params{33, 8, 1}, ErrFormat},
		"too little memory":  {v.root, SlotPassphrase, "x", "", Argon2Params{1, 31, 4}, ErrFormat},
		"too much memory":    {v.root, SlotPassphrase, "x", "", Argon2Params{1, 1<<20 + 1, 4}, ErrFormat},
		"no threads":         {v.root, SlotPassphrase, "x", "", Argon2Params{1, 8, 0}, ErrFormat},
		"too many threads":   {v.root, SlotPassphrase, "x", "", Argon2Params{1, 1 << 20, 17}, ErrFormat},
		"memory near 2^32":   {v.root, SlotPassphrase, "x", "", Argon2Params{1, 1<<32 - 1, 1}, ErrFormat},
		"everything is fine": {v.root, SlotPassphrase, "x", "", cheap(), nil},
	} {
		for from, h := range map[string]*Header{"made": v.header, "parsed": parse(t, v.bytes)} {
			before := fmt.Sprint(h.Slots(), h.Generation())
			_, err := h.AddSlot(c.root, c.kind, []byte(c.secret), c.label, c.params)
			if !errors.Is(err, c.want) {
				t.Errorf("%s, %s header: %v, want %v", what, from, err, c.want)
			}
			if err != nil && fmt.Sprint(h.Slots(), h.Generation()) != before {
				t.Errorf("%s, %s header: refused, but changed the header", what, from)
			}
		}
	}
	if err := DefaultArgon2().Validate(); err != nil {
		t.Error(err)
	}
}

func TestHeaderMarshalRefuses(t *testing.T) {
	v := newTestVolume(t)
	other, err := DeriveVolumeKeys(testKey(t, 2), v.header.Volume())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Wipe()
	for _, h := range []*Header{v.header, parse(t, v.bytes)} {
		if _, err := h.Marshal(other); !errors.Is(err, ErrAuth) {
			t.Errorf("other keys: %v", err)
		}
	}
	if _, err := NewHeader(VolumeID{1}).Marshal(v.keys); !errors.Is(err, ErrFormat) {
		t.Errorf("no slots: %v", err)
	}
	v.keys.Wipe()
	if _, err := v.header.Marshal(v.keys); !errors.Is(err, ErrWiped) {
		t.Errorf("wiped keys: %v", err)
	}
}

// rechecksum is what somebody who edits a header by hand must do: put a correct checksum at its end.
func rechecksum(b []byte) []byte {
	body := b[:len(b)-checksumLineLen]
	return fmt.Appendf(bytes.Clone(body), "%s%x%s", checksumPrefix, sha256.Sum256(body), headerEnd)
}

// TestHeaderDamage flips every bit, and cuts the header everywhere.
func TestHeaderDamage(t *testing.T) {
	v := newTestVolume(t)
	versionAt := bytes.Index(v.bytes, []byte(`"format": `)) + len(`"format": `)
	for bit := range len(v.bytes) * 8 {
		damaged := bytes.Clone(v.bytes)
		damaged[bit/8] ^= 1 << (bit % 8)
		h, err := ParseHeader(damaged)
		if bit/8 == versionAt && errors.Is(err, ErrVersion) && strings.Contains(err.Error(), "damaged") {
			continue // another digit: it says that it may be either
		}
		if !errors.Is(err, ErrHeaderDamaged) || h != nil {
			t.Errorf("bit %d of byte %d (%q): %v", bit%8, bit/8, v.bytes[bit/8], err)
		}
	}
	for n := range v.bytes {
		if _, err := ParseHeader(v.bytes[:n]); !errors.Is(err, ErrHeaderDamaged) {
			t.Errorf("truncated to %d: %v", n, err)
		}
	}
	for what, b := range map[string][]byte{
		"empty": {}, "zeros": make([]byte, len(v.bytes)), "other JSON": []byte(`{"format": 1}`), "array": []byte("[]"), "null": []byte("null"),
		"other magic": rechecksum(bytes.Replace(v.bytes, []byte("ssefs volume"), []byte("other volume"), 1)),
		"no version":  rechecksum(bytes.Replace(v.bytes, []byte(`"format": 1`), []byte(`"format": "1"`), 1)),
		"trailing":    append(bytes.Clone(v.bytes), '\n'),
		"too long":    append(bytes.Clone(v.bytes), bytes.Repeat([]byte(" "), maxHeaderSize)...),
		"twice":       append(bytes.Clone(v.bytes), v.bytes...),
	} {
		if _, err := ParseHeader(b); !errors.Is(err, ErrHeaderDamaged) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestHeaderOfTheFuture: the version decides before anything else, then the features, whatever the rest looks
// like.
func TestHeaderOfTheFuture(t *testing.T) {
	v := newTestVolume(t)
	edit := func(old, new string) []byte {
		if !bytes.Contains(v.bytes, []byte(old)) {
			t.Fatalf("no %q in the header", old)
		}
		return bytes.Replace(v.bytes, []byte(old), []byte(new), 1)
	}
	version2 := edit(`"format": 1`, `"format": 2`)
	feature := edit(`"features": []`, `"features": ["compression"]`)
	for what, c := range map[string]struct {
		b       []byte
		want    error
		says    []string
		damaged bool
	}{
		"version":               {rechecksum(version2), ErrVersion, []string{"version 2", "knows 1"}, false},
		"version 0":             {rechecksum(edit(`"format": 1`, `"format": 0`)), ErrVersion, []string{"version 0"}, false},
		"edited version":        {version2, ErrVersion, []string{"version 2"}, true},
		"version, other layout": {[]byte(`{"magic": "ssefs volume", "format": 99, "features": {"x": 1}, "new": []}`), ErrVersion, []string{"version 99"}, true},
		"feature":               {rechecksum(feature), ErrFeature, []string{`"compression"`}, false},
		"edited feature":        {feature, ErrFeature, []string{`"compression"`}, true},
		"version and feature": {
			rechecksum(bytes.Replace(feature, []byte(`"format": 1`), []byte(`"format": 2`), 1)), ErrVersion, []string{"version 2"}, false,
		},
	} {
		_, err := ParseHeader(c.b)
		if !errors.Is(err, c.want) || errors.Is(err, ErrHeaderDamaged) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
			continue
		}
		for _, s := range c.says {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("%s: %v does not say %q", what, err, s)
			}
		}
		if strings.Contains(err.Error(), "damaged") != c.damaged {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestHeaderStrict edits a header into what it cannot be, with a correct checksum.
func TestHeaderStrict(t *testing.T) {
	v := newTestVolume(t)
	slots := strings.SplitAfter(string(v.bytes), "\n")
	var slot1 string
	for _, line := range slots {
		if strings.Contains(line, `"id": 1,`) {
			slot1 = strings.TrimSuffix(line, ",\n")
		}
	}
	for what, e := range map[string][2]string{
		"unknown member":         {`  "volume"`, `  "extra": 1,` + "\n" + `  "volume"`},
		"unknown slot member":    {`"id": 1,`, `"id": 1, "extra": 1,`},
		"member twice":           {`  "volume"`, `  "generation": 2,` + "\n" + `  "volume"`},
		"member in other case":   {`"generation"`, `"Generation"`},
		"member missing":         {`  "generation": 2,` + "\n", ""},
		"other spacing":          {`"generation": 2`, `"generation":  2`},
		"number as text":         {`"generation": 2`, `"generation": "2"`},
		"number with exponent":   {`"generation": 2`, `"generation": 2e0`},
		"negative generation":    {`"generation": 2`, `"generation": -2`},
		"slot number twice":      {`"id": 2`, `"id": 1`},
		"slot twice":             {slot1, slot1 + ",\n" + slot1},
		"slot 0":                 {`"id": 1,`, `"id": 0,`},
		"slots out of order":     {`"id": 1,`, `"id": 3,`},
		"slot beyond next":       {`"next_slot": 3`, `"next_slot": 2`},
		"unknown kind":           {`"kind": "passphrase"`, `"kind": "tpm"`},
		"unknown KDF":            {`"kdf": "argon2id"`, `"kdf": "scrypt"`},
		"KDF of other kind":      {`"kdf": "argon2id"`, `"kdf": "hkdf-sha256"`},
		"costs of a key file":    {`"kdf": "hkdf-sha256"`, `"kdf": "hkdf-sha256", "time": 1`},
		"no passes":              {`"time": 1`, `"time": 0`},
		"too many passes":        {`"time": 1`, `"time": 33`},
		"too much memory":        {`"memory_kib": 8`, `"memory_kib": 1048577`},
		"memory beyond 32 bits":  {`"memory_kib": 8`, `"memory_kib": 4294967304`},
		"too little memory":      {`"memory_kib": 8`, `"memory_kib": 7`},
		"too many threads":       {`"threads": 1`, `"threads": 17`},
		"threads beyond 8 bits":  {`"threads": 1`, `"threads": 257`},
		"short salt":             {`"salt": "`, `"salt": "00`},
		"volume not hexadecimal": {`"volume": "01`, `"volume": "0x`},
		"volume in upper case":   {`"volume": "01`, `"volume": "AB`},
		"long label":             {`"label": ""`, `"label": "` + strings.Repeat("x", 65) + `"`},
		"control in label":       {`"label": ""`, `"label": "\u0007"`},
		"escape in label":        {`"label": ""`, `"label": "\u0041"`},
		"short MAC":              {`"mac": "`, `"mac": "00`},
		"second document":        {"{\n  \"magic\"", "{\"magic\": \"ssefs volume\"} {\n  \"magic\""},
	} {
		if !bytes.Contains(v.bytes, []byte(e[0])) {
			t.Errorf("%s: no %q in the header", what, e[0])
			continue
		}
		b := rechecksum(bytes.Replace(v.bytes, []byte(e[0]), []byte(e[1]), 1))
		if h, err := ParseHeader(b); !errors.Is(err, ErrHeaderDamaged) || h != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestHeaderTampering edits a header into another possible one, with a correct checksum: it parses, and does
// not unlock.
func TestHeaderTampering(t *testing.T) {
	v := newTestVolume(t)
	for what, e := range map[string]struct {
		old, new string
		want     error // of unlocking slot 2
	}{
		"generation":          {`"generation": 2`, `"generation": 3`, ErrAuth},
		"next slot":           {`"next_slot": 3`, `"next_slot": 4`, ErrAuth},
		"label":               {`"label": ""`, `"label": "mine"`, ErrAuth},
		"costs of other slot": {`"time": 1`, `"time": 2`, ErrAuth},
		"nothing":             {`"id": 2`, `"id": 2`, nil},
		"volume":              {`"volume": "01`, `"volume": "02`, ErrWrongSecret},
	} {
		if !bytes.Contains(v.bytes, []byte(e.old)) {
			t.Fatalf("%s: no %q in the header", what, e.old)
		}
		h := parse(t, rechecksum(bytes.Replace(v.bytes, []byte(e.old), []byte(e.new), 1)))
		root, _, err := h.Unlock(KeyFileSecret(v.keyFile))
		if !errors.Is(err, e.want) || (root != nil) != (e.want == nil) {
			t.Errorf("%s: %v, want %v", what, err, e.want)
		}
		root.Wipe()
		if e.want != ErrAuth {
			continue
		}
		// Nobody who has the keys already makes it good by changing it.
		if _, err := h.AddSlot(v.root, SlotKeyFile, v.keyFile, "", cheap()); !errors.Is(err, ErrAuth) {
			t.Errorf("%s: slot added: %v", what, err)
		}
		if err := h.RemoveSlot(1); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Marshal(v.keys); !errors.Is(err, ErrAuth) {
			t.Errorf("%s: authenticated again: %v", what, err)
		}
	}
}

// TestHeaderWrapIsBound moves wrapped root keys into slots of other numbers, costs and volumes: each must
// fail by itself, before the MAC.
func TestHeaderWrapIsBound(t *testing.T) {
	v := newTestVolume(t)
	original := v.header.slots[0]
	for what, change := range map[string]func(s *slot, id *VolumeID){
		"nothing": func(*slot, *VolumeID) {},
		"volume":  func(_ *slot, id *VolumeID) { id[0]++ },
		"number":  func(s *slot, _ *VolumeID) { s.id++ },
		"salt":    func(s *slot, _ *VolumeID) { s.salt[0]++ },
		"passes":  func(s *slot, _ *VolumeID) { s.params.Time++ },
		"memory":  func(s *slot, _ *VolumeID) { s.params.MemoryKiB++ },
		"wrapped": func(s *slot, _ *VolumeID) { s.wrapped[30]++ },
		"kind":    func(s *slot, _ *VolumeID) { s.kind = SlotKeyFile },
	} {
		s, volume := original, v.header.Volume()
		change(&s, &volume)
		root, err := s.unwrap(volume, []byte("secret"))
		if what == "nothing" && err != nil || what != "nothing" && !errors.Is(err, ErrAuth) {
			t.Errorf("%s: %v", what, err)
		}
		root.Wipe()
	}
}

// FuzzParseHeader: what parses encodes to the same bytes, apart from the MAC, which is checked later.
func FuzzParseHeader(f *testing.F) {
	v := newTestVolume(f)
	f.Add(v.bytes)
	f.Add(rechecksum(bytes.Replace(v.bytes, []byte(`"format": 1`), []byte(`"format": 2`), 1)))
	f.Add(rechecksum(bytes.Replace(v.bytes, []byte(`[]`), []byte(`["x"]`), 1)))
	f.Add([]byte(`{"magic": "ssefs volume", "format": 1, "features": []}`))
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		inputs := [][]byte{b}
		if len(b) > checksumLineLen {
			inputs = append(inputs, rechecksum(b)) // reaches what is behind the checksum
		}
		for _, b := range inputs {
			h, err := ParseHeader(b)
			if err != nil {
				if !errors.Is(err, ErrHeaderDamaged) && !errors.Is(err, ErrVersion) && !errors.Is(err, ErrFeature) {
					t.Error(err)
				}
				continue
			}
			if out := appendTrailer(h.encodeBody(), h.mac); !bytes.Equal(out, b) {
				t.Errorf("%s became %s", b, out)
			}
			for _, s := range h.slots {
				if s.kind == SlotPassphrase && s.params.Validate() != nil {
					t.Errorf("costs %+v", s.params)
				}
			}
		}
	})
}
