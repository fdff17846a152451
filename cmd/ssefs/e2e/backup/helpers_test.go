package backup

import "time"

// fixedTime is a time long ago, with nanoseconds.
func fixedTime(n int) time.Time { return time.Unix(1_000_000_000+int64(n), 123_456_789) }
