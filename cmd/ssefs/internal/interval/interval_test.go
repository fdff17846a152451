package interval

import (
	"errors"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"90d": 90 * day, "1d": day, "12h": 12 * time.Hour, "1h30m": 90 * time.Minute, "off": 0, "OFF": 0, "36500d": maxDays * day,
	} {
		got, err := Parse(text)
		if err != nil || got != want {
			t.Errorf("Parse(%q) = %v, %v; want %v", text, got, err, want)
		}
		if again, err := Parse(Format(want)); err != nil || again != want {
			t.Errorf("%v is written %q, which is read as %v, %v", want, Format(want), again, err)
		}
	}
	for _, text := range []string{"", "0", "0d", "-1d", "-3h", "90", "1.5d", "d", "x", "36501d", "99999999999d"} {
		if got, err := Parse(text); !errors.Is(err, ErrInterval) {
			t.Errorf("Parse(%q) = %v, %v", text, got, err)
		}
	}
}

func TestParseTime(t *testing.T) {
	now := time.Date(2027, 3, 4, 5, 6, 7, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"2027-01-31":           time.Date(2027, 1, 31, 0, 0, 0, 0, time.Local),
		"2027-01-31T12:00:00Z": time.Date(2027, 1, 31, 12, 0, 0, 0, time.UTC),
		"2d":                   now.Add(-2 * day),
	} {
		if got, err := ParseTime(text, now, -1); err != nil || !got.Equal(want) {
			t.Errorf("ParseTime(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	if got, err := ParseTime("2d", now, 1); err != nil || !got.Equal(now.Add(2*day)) {
		t.Errorf("two days ahead: %v, %v", got, err)
	}
	for _, text := range []string{"", "off", "yesterday", "2027-13-01"} {
		if got, err := ParseTime(text, now, 1); !errors.Is(err, ErrInterval) {
			t.Errorf("ParseTime(%q) = %v, %v", text, got, err)
		}
	}
}
