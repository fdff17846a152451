// Package interval reads and writes intervals of time the way people say how often keys rotate and when they end: in
// days, or as Go writes durations, and "off" for never.
package interval

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ErrInterval is wrapped by the errors of Parse and ParseTime.
var ErrInterval = errors.New("not an interval")

// Off is how an interval that does not end is written.
const Off = "off"

const day = 24 * time.Hour

// maxDays keeps an interval within what a time.Duration holds.
const maxDays = 100 * 365

// Parse reads an interval: a number of days such as 90d, a duration such as 12h30m, or off, which is 0.
func Parse(text string) (time.Duration, error) {
	if strings.EqualFold(text, Off) {
		return 0, nil
	}
	bad := fmt.Errorf("%w: %q; write days as 90d, hours as 12h, or %s", ErrInterval, text, Off)
	if number, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseUint(number, 10, 32)
		if err != nil || n == 0 || n > maxDays {
			return 0, bad
		}
		return time.Duration(n) * day, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, bad
	}
	return d, nil
}

// Format writes an interval so that Parse reads it.
func Format(d time.Duration) string {
	switch {
	case d == 0:
		return Off
	case d%day == 0:
		return fmt.Sprintf("%dd", d/day)
	}
	return d.String()
}

// ParseTime reads a moment: a day such as 2027-01-31, which begins in local time, a time as in RFC 3339, or an interval
// counted from now on; sign is +1 for one ahead, -1 for one ago.
func ParseTime(text string, now time.Time, sign time.Duration) (time.Time, error) {
	if t, err := time.ParseInLocation(time.DateOnly, text, time.Local); err == nil {
		return t, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	d, err := Parse(text)
	if err != nil || d == 0 {
		return time.Time{}, fmt.Errorf("%w, nor a time: %q; write 2027-01-31, 2027-01-31T12:00:00Z or 30d", ErrInterval, text)
	}
	return now.Add(sign * d), nil
}
