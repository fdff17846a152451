package crypto

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// testKey is a key of 32 equal bytes.
func testKey(t testing.TB, b byte) *Key {
	t.Helper()
	k, err := KeyFromBytes(bytes.Repeat([]byte{b}, KeySize))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Wipe)
	return k
}

func TestKeyFromBytesMoves(t *testing.T) {
	b := bytes.Repeat([]byte{7}, KeySize)
	k, err := KeyFromBytes(b)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Wipe()
	if !bytes.Equal(b, make([]byte, KeySize)) {
		t.Error("source was not wiped")
	}
	if !bytes.Equal(k.Bytes(), bytes.Repeat([]byte{7}, KeySize)) {
		t.Error("key has other bytes")
	}
	for _, n := range []int{0, 16, 31, 33, 64} {
		b := bytes.Repeat([]byte{7}, n)
		if _, err := KeyFromBytes(b); !errors.Is(err, ErrFormat) {
			t.Errorf("%d bytes: %v, want ErrFormat", n, err)
		}
		if bytes.Contains(b, []byte{7}) {
			t.Errorf("%d refused bytes were not wiped", n)
		}
	}
}

func TestKeyWipe(t *testing.T) {
	k, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	kept := k.Bytes()
	same, err := KeyFromBytes(bytes.Clone(kept))
	if err != nil {
		t.Fatal(err)
	}
	defer same.Wipe()
	if !same.Equal(k) || !k.Equal(same) || !k.Equal(k) {
		t.Error("keys of the same bytes are not equal")
	}
	k.Wipe()
	if !bytes.Equal(kept, make([]byte, KeySize)) {
		t.Error("wiping left the bytes")
	}
	if bytes.Equal(same.Bytes(), make([]byte, KeySize)) {
		t.Error("wiping a key wiped another")
	}
	if k.Bytes() != nil || k.Equal(k) || k.Equal(same) || same.Equal(k) || same.Equal(nil) {
		t.Error("a wiped key is in use")
	}
	k.Wipe()
	(*Key)(nil).Wipe()
	if _, err := NewAEAD(k); !errors.Is(err, ErrWiped) {
		t.Errorf("AEAD under a wiped key: %v", err)
	}
	if _, err := NewFileCipher(k, Encrypted, FileContext{}); !errors.Is(err, ErrWiped) {
		t.Errorf("file cipher under a wiped key: %v", err)
	}
	if _, err := DeriveVolumeKeys(k, VolumeID{}); !errors.Is(err, ErrWiped) {
		t.Errorf("volume keys from a wiped key: %v", err)
	}
	for name, hasher := range map[string]func(){
		"names": func() { NewNameHasher(k) }, "sets": func() { NewSetHasher(k) },
	} {
		if !panics(hasher) {
			t.Errorf("%s hashed under a wiped key", name)
		}
	}
}

func panics(fn func()) (yes bool) {
	defer func() { yes = recover() != nil }()
	fn()
	return false
}

// TestKeyNeverPrinted prints keys in every way that programs print things.
func TestKeyNeverPrinted(t *testing.T) {
	const marker = "SECRETSECRETSECRETSECRETSECRET!!"
	k, err := KeyFromBytes([]byte(marker))
	if err != nil {
		t.Fatal(err)
	}
	defer k.Wipe()
	v := &VolumeKeys{Metadata: k, Names: k, SetHash: k, Keystore: k, Header: k}
	secret := PassphraseSecret([]byte(marker))
	aead, err := NewAEAD(k)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, x := range []any{k, v, *v, []*Key{k}, map[string]*Key{"k": k}, secret, &secret, []Secret{secret}, aead} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%p", "%08b"} {
			fmt.Fprintf(&out, verb+"\n", x)
		}
		for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
			slog.New(h).Info("x", "key", x)
		}
		if b, err := json.Marshal(x); err == nil && x != any(aead) {
			t.Errorf("%T became JSON: %s", x, b)
		}
	}
	decimal := strings.Trim(fmt.Sprintf("%d", []byte(marker[:6])), "[]")
	for _, trace := range []string{"SECRET", hex.EncodeToString([]byte("SECRET")), strings.ToUpper(hex.EncodeToString([]byte("SECRET"))), decimal, "U0VDUkVU"} {
		if strings.Contains(out.String(), trace) {
			t.Errorf("printed as %q", trace)
		}
	}
	for name, marshal := range map[string]func() ([]byte, error){"text": k.MarshalText, "binary": k.MarshalBinary} {
		if b, err := marshal(); err == nil {
			t.Errorf("%s: %q", name, b)
		}
	}
	if k.String() != redacted || k.GoString() != redacted {
		t.Error("key has a string")
	}
}

// TestArenaPages asks the kernel whether keys are where they should be.
func TestArenaPages(t *testing.T) {
	k := testKey(t, 1)
	if !lockedMemory() {
		var limit unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil || limit.Cur >= 8<<20 {
			t.Fatalf("memory is not locked with a limit of %d bytes: %v", limit.Cur, err)
		}
		return
	}
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	address := uint64(uintptr(unsafe.Pointer(&k.Bytes()[0])))
	head := regexp.MustCompile(`^([0-9a-f]+)-([0-9a-f]+) `)
	inside := false
	for line := range strings.Lines(string(smaps)) {
		if m := head.FindStringSubmatch(line); m != nil {
			begin, _ := strconv.ParseUint(m[1], 16, 64)
			end, _ := strconv.ParseUint(m[2], 16, 64)
			inside = begin <= address && address < end
		}
		if flags, ok := strings.CutPrefix(line, "VmFlags:"); ok && inside {
			fields := strings.Fields(flags)
			for _, want := range []string{"lo", "dd"} {
				if !strings.Contains(" "+strings.Join(fields, " ")+" ", " "+want+" ") {
					t.Errorf("pages of keys lack %q: %v", want, fields)
				}
			}
			return
		}
	}
	t.Fatal("key is in no mapping")
}

// TestArenaReuse makes more keys than one chunk holds, and checks that slots are distinct, zeroed and used
// again.
func TestArenaReuse(t *testing.T) {
	const n = 3 * arenaChunk / KeySize
	for round := range 2 {
		seen := make(map[*byte]bool)
		keys := make([]*Key, n)
		for i := range keys {
			k, err := NewKey()
			if err != nil {
				t.Fatal(err)
			}
			if p := &k.Bytes()[0]; seen[p] {
				t.Fatal("two keys in one slot")
			} else {
				seen[p] = true
			}
			keys[i] = k
		}
		for _, k := range keys {
			k.Wipe()
		}
		secrets.mu.Lock()
		free := len(secrets.free)
		for _, slot := range secrets.free {
			if *slot != [KeySize]byte{} {
				t.Error("free slot is not zero")
			}
		}
		secrets.mu.Unlock()
		if round == 1 && free > n+2*arenaChunk/KeySize {
			t.Errorf("%d slots for %d keys: slots are not used again", free, n)
		}
	}
}

// TestKeyWipeDuringUse shows that a key does not change under those who use it: every result is that of the
// key or ErrWiped, and never that of a wiped or another key.
func TestKeyWipeDuringUse(t *testing.T) {
	reference, err := NewAEAD(testKey(t, 9))
	if err != nil {
		t.Fatal(err)
	}
	sealed := reference.Seal(nil, []byte("x"), nil)
	for range 200 {
		k, err := KeyFromBytes(bytes.Repeat([]byte{9}, KeySize))
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				a, err := NewAEAD(k)
				if errors.Is(err, ErrWiped) {
					return
				}
				if err == nil {
					_, err = a.Open(nil, sealed, nil)
				}
				if err != nil {
					t.Errorf("key changed under its user: %v", err)
				}
			})
		}
		wg.Go(k.Wipe)
		wg.Wait()
	}
}

func TestDeriveVolumeKeys(t *testing.T) {
	root := testKey(t, 1)
	derive := func(root *Key, id VolumeID) *VolumeKeys {
		v, err := DeriveVolumeKeys(root, id)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(v.Wipe)
		return v
	}
	list := func(v *VolumeKeys) []*Key {
		return []*Key{v.Metadata, v.Names, v.SetHash, v.Keystore, v.Header, v.Backup}
	}
	all := append(list(derive(root, VolumeID{1})), list(derive(root, VolumeID{2}))...)
	all = append(all, list(derive(testKey(t, 2), VolumeID{1}))...)
	all = append(all, root)
	for i := range all {
		for j := range i {
			if all[i].Equal(all[j]) {
				t.Errorf("keys %d and %d are equal", i, j)
			}
		}
	}
	again := list(derive(root, VolumeID{1}))
	for i, k := range again {
		if !k.Equal(all[i]) {
			t.Errorf("key %d is not reproducible", i)
		}
	}
	// Frozen with format version 1: computed with an independent HKDF (Python's hmac module).
	want := frozenVolumeKeys
	for i, k := range again {
		if got := hex.EncodeToString(k.Bytes()); got != want[i] {
			t.Errorf("key %d is %s, want %s", i, got, want[i])
		}
	}
}

func TestVolumeID(t *testing.T) {
	id := NewVolumeID()
	if id == NewVolumeID() {
		t.Error("two volumes have one ID")
	}
	back, err := parseVolumeID(id.String())
	if err != nil || back != id {
		t.Errorf("%v read as %v: %v", id, back, err)
	}
	for _, bad := range []string{"", "00", strings.Repeat("0", 31), strings.Repeat("0", 33), strings.Repeat("A", 32), strings.Repeat("g", 32)} {
		if _, err := parseVolumeID(bad); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// frozenVolumeKeys are the keys for the root key 01 (32 times) and the volume ID 01 00 (15 times).
var frozenVolumeKeys = []string{
	"10e450e2694cc5a7f761d52bf0d4a28217bdcb0b5fd7de3f19dbb6b598a922c3", // metadata
	"c0da12ec5b1efd83b165582369f1659c20d607ea0e683952e8f39dff0a64c241", // names
	"ff9d96945d770f8e0b89ed1a10df29365fc86d17acced767128662f84e92cbcd", // set hash
	"240c80290502351b71a572919292468274d4a91c5092e951da664909d7e66104", // keystore
	"14bfd8586c59f7a5e902c2ec7b33519b2ff310cd9c08dbe28c5a380c1a28bcf4", // header
	"fd771f0464972a67c96965f40869377a3507ad308f4f79a811dc0573e0bf917b", // backup
}
