package record_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// formatDoc is the document whose examples these tests keep true.
const formatDoc = "../../FORMAT.md"

var updateDoc = flag.Bool("update", false, "rewrite the examples in FORMAT.md")

// example is a worked example of FORMAT.md. It stands between the lines
// "<!-- example NAME -->" and "<!-- end -->".
type example struct {
	name string
	// text makes the example. old is what the document has: an example of
	// something that is sealed at random stays as long as it opens.
	text func(t *testing.T, old string) string
}

// exampleBlock matches an example in the document with its name and text.
var exampleBlock = regexp.MustCompile("(?s)<!-- example ([a-z0-9-]+) -->\n```text\n(.*?)```\n<!-- end -->\n")

// TestFormatDocument compares the examples in FORMAT.md with what the code
// makes. With -update it writes them.
func TestFormatDocument(t *testing.T) {
	doc, err := os.ReadFile(formatDoc)
	if err != nil {
		t.Fatal(err)
	}
	made := map[string]bool{}
	fresh := exampleBlock.ReplaceAllStringFunc(string(doc), func(block string) string {
		m := exampleBlock.FindStringSubmatch(block)
		name, old := m[1], m[2]
		i := slices.IndexFunc(examples(), func(e example) bool { return e.name == name })
		if i < 0 {
			t.Errorf("FORMAT.md has an example %q that no code makes", name)
			return block
		}
		if made[name] {
			t.Errorf("FORMAT.md has the example %q twice", name)
		}
		made[name] = true
		text := examples()[i].text(t, old)
		if text != old && !*updateDoc {
			t.Errorf("example %q in FORMAT.md is\n%s\nbut the code makes\n%s\nIf the format was meant to change, run: go test ./fs/record -run TestFormatDocument -update", name, old, text)
		}
		return "<!-- example " + name + " -->\n```text\n" + text + "```\n<!-- end -->\n"
	})
	for _, e := range examples() {
		if !made[e.name] {
			t.Errorf("FORMAT.md has no example %q", e.name)
		}
	}
	if n := strings.Count(string(doc), "<!-- example "); n != len(made) {
		t.Errorf("FORMAT.md has %d markers of examples, %d of them well-formed", n, len(made))
	}
	if *updateDoc && fresh != string(doc) {
		if err := os.WriteFile(formatDoc, []byte(fresh), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// field is a part of an example: so many bytes, and what they are.
type field struct {
	size int
	text string
}

// annotated shows bytes field by field, the fields at the end without a size of
// their own. All bytes must be covered.
func annotated(t *testing.T, b []byte, fields ...field) string {
	t.Helper()
	var out strings.Builder
	for _, f := range fields {
		if f.size > len(b) {
			t.Fatalf("%s takes %d bytes, %d are left", f.text, f.size, len(b))
		}
		shown := hex.EncodeToString(b[:f.size])
		b = b[f.size:]
		if len(shown) <= 20 {
			fmt.Fprintf(&out, "%-20s  %s\n", shown, f.text)
			continue
		}
		for ; len(shown) > 72; shown = shown[72:] {
			out.WriteString(shown[:72] + "\n")
		}
		if len(shown) > 20 {
			out.WriteString(shown + "\n")
			shown = ""
		}
		fmt.Fprintf(&out, "%-20s  %s\n", shown, f.text)
	}
	if len(b) > 0 {
		t.Fatalf("%d bytes are not explained: %x", len(b), b)
	}
	return out.String()
}

// header is how every plaintext begins.
func header(version string) []field {
	return []field{{1, "layout"}, {8, "version " + version}}
}

// fixed is an example that is the same every time.
func fixed(name string, text func(t *testing.T) string) example {
	return example{name, func(t *testing.T, _ string) string { return text(t) }}
}

// plain is an example of a record's plaintext.
func plain(name string, b []byte, version string, fields ...field) example {
	return fixed(name, func(t *testing.T) string { return annotated(t, b, append(header(version), fields...)...) })
}

// opening is an example of something sealed under a random nonce. The one in
// the document counts if it opens to what it should.
func opening(name string, want []byte, open func([]byte) ([]byte, error), seal func() []byte, fields ...field) example {
	return example{name, func(t *testing.T, old string) string {
		sealed, err := sealedIn(old)
		if err == nil {
			var got []byte
			if got, err = open(sealed); err == nil && !bytes.Equal(got, want) {
				err = fmt.Errorf("opens to %x, want %x", got, want)
			}
		}
		if err != nil {
			if !*updateDoc {
				t.Errorf("example %q: %v", name, err)
			}
			sealed = seal()
		}
		return annotated(t, sealed, fields...)
	}}
}

// sealedIn reads the bytes back from an annotated example.
func sealedIn(text string) ([]byte, error) {
	var digits strings.Builder
	for line := range strings.Lines(text) {
		if word, _, _ := strings.Cut(line, " "); word != "" {
			digits.WriteString(strings.TrimSpace(word))
		}
	}
	if digits.Len() == 0 {
		return nil, errors.New("there is none")
	}
	return hex.DecodeString(digits.String())
}
