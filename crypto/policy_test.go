package crypto

import (
	"errors"
	"strings"
	"testing"
)

func TestParsePolicy(t *testing.T) {
	const uuid = "0f8fad5b-d9cb-469f-a165-70867728950e"
	id64, name255 := strings.Repeat("a", 64), strings.Repeat("n", 255)
	for _, c := range []struct {
		in   string
		want Policy
		out  string
	}{
		{"none", Policy{AlgorithmNone, ""}, "none"},
		{"NONE", Policy{AlgorithmNone, ""}, "none"},
		{"None", Policy{AlgorithmNone, ""}, "none"},
		{"AES256", Policy{AlgorithmAES256, ""}, "AES256"},
		{"aes256", Policy{AlgorithmAES256, ""}, "AES256"},
		{"KMS", Policy{AlgorithmKMS, ""}, "KMS"},
		{"kms", Policy{AlgorithmKMS, ""}, "KMS"},
		{"KMS:" + uuid, Policy{AlgorithmKMS, uuid}, "KMS:" + uuid},
		{"kms:" + strings.ToUpper(uuid), Policy{AlgorithmKMS, uuid}, "KMS:" + uuid},
		{"KMS:0F8FAD5B-d9cb-469f-a165-7086772895zz", Policy{AlgorithmKMS, "0F8FAD5B-d9cb-469f-a165-7086772895zz"}, "KMS:0F8FAD5B-d9cb-469f-a165-7086772895zz"},
		{"KMS:0F8FAD5B0-9cb-469f-a165-70867728950e", Policy{AlgorithmKMS, "0F8FAD5B0-9cb-469f-a165-70867728950e"}, "KMS:0F8FAD5B0-9cb-469f-a165-70867728950e"},
		{"KMS:Key-1", Policy{AlgorithmKMS, "Key-1"}, "KMS:Key-1"},
		{"KMS:" + id64, Policy{AlgorithmKMS, id64}, "KMS:" + id64},
		{"KMS:alias/acs/oss", Policy{AlgorithmKMS, "alias/acs/oss"}, "KMS:alias/acs/oss"},
		{"kms:ALIAS/My_Key-1", Policy{AlgorithmKMS, "alias/My_Key-1"}, "KMS:alias/My_Key-1"},
		{"KMS:alias/alias/x", Policy{AlgorithmKMS, "alias/alias/x"}, "KMS:alias/alias/x"},
		{"KMS:alias/" + name255, Policy{AlgorithmKMS, "alias/" + name255}, "KMS:alias/" + name255},
		{"KMS:alias", Policy{AlgorithmKMS, "alias"}, "KMS:alias"},
	} {
		got, err := ParsePolicy(c.in)
		if err != nil || got != c.want {
			t.Errorf("%q: %+v, %v, want %+v", c.in, got, err, c.want)
		}
		if got.String() != c.out {
			t.Errorf("%q: canonical text is %q, want %q", c.in, got, c.out)
		}
	}
	for _, in := range []string{
		"", " ", "none ", " none", "none\n", "none\x00", "AES256\n", "KMS\x00", "AES", "AES-256", "AES128", "SSE-KMS", "KMS ",
		"none:", "none:x", "AES256:", "AES256:x", "KMS:", "KMS: x", "KMS:x ", "KMS:x\n", "KMS:x y", "KMS:x_y", "KMS:x/y", "KMS:é",
		"KMS:a:b", "KMS::", "KMS:" + id64 + "a", "KMS:alias/", "KMS:alias/a b", "KMS:alias/a.b", "KMS:alias/é", "KMS:alias/" + name255 + "n",
		"KMS:alias/x\n", "KMS:\x00", "KM\u017f", "\u212aMS", "AE\u017f256", "KMS:alia\u017f/x", "KMS:alias\u212a", strings.Repeat("x", 1<<16),
	} {
		p, err := ParsePolicy(in)
		if !errors.Is(err, ErrPolicy) || p != (Policy{}) {
			t.Errorf("%q: %+v, %v", in, p, err)
		} else if len(err.Error()) > 500 {
			t.Errorf("%q: message of %d bytes", in[:20], len(err.Error()))
		}
	}
}

func TestPolicyValidate(t *testing.T) {
	for _, p := range []Policy{
		{}, {Algorithm: 4}, {AlgorithmNone, "x"}, {AlgorithmAES256, "x"}, {AlgorithmKMS, "alias/"}, {AlgorithmKMS, "a b"},
		{AlgorithmKMS, "0F8FAD5B-d9cb-469f-a165-70867728950e"}, {AlgorithmKMS, "ALIAS/x"},
	} {
		if err := p.Validate(); !errors.Is(err, ErrPolicy) {
			t.Errorf("%+v: %v", p, err)
		}
	}
}

// FuzzParsePolicy: what parses is valid, and its canonical text parses to the same policy.
func FuzzParsePolicy(f *testing.F) {
	for _, s := range []string{"none", "AES256", "KMS", "kms:x", "KMS:alias/acs/oss", "KMS:0F8FAD5B-D9CB-469F-A165-70867728950E", "KMS:", "none\n", "KMS:alias/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePolicy(s)
		if err != nil {
			if !errors.Is(err, ErrPolicy) {
				t.Errorf("%q: %v", s, err)
			}
			return
		}
		if err := p.Validate(); err != nil {
			t.Errorf("%q: %v", s, err)
		}
		again, err := ParsePolicy(p.String())
		if err != nil || again != p {
			t.Errorf("%q: %+v, and again %+v: %v", s, p, again, err)
		}
		if !strings.EqualFold(s, p.String()) {
			t.Errorf("%q became %q", s, p)
		}
	})
}
