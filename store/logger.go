package store

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
)

// badgerLogger passes Badger's messages on. Badger is talkative: what it calls
// information is debugging here, and what it calls errors are warnings, as the
// store returns errors of its own.
type badgerLogger struct {
	log *slog.Logger
	// syncFailed is set when Badger reports that it could not sync the value
	// log. It does so in the log only and lets the commit succeed.
	syncFailed atomic.Bool
}

// syncFailure is how the message about a failed value log sync begins (value.go
// in Badger v4.9.6; TestValueLogSyncFailureIsNoticed watches over it).
const syncFailure = "Error while curlf sync"

// readFailures begin the messages about a value that could not be read. Reads
// that garbage collection gets in the way of cause them too, and are repeated.
func readFailures() []string { return []string{"Unable to read: Key", "Key: %v, Version"} }

func (l *badgerLogger) Errorf(format string, args ...any) {
	if strings.HasPrefix(format, syncFailure) {
		l.syncFailed.Store(true)
	}
	for _, prefix := range readFailures() {
		if strings.HasPrefix(format, prefix) {
			l.Infof(format, args...)
			return
		}
	}
	l.log.Warn("badger: " + message(format, args))
}

func (l *badgerLogger) Warningf(format string, args ...any) {
	l.log.Info("badger: " + message(format, args))
}

func (l *badgerLogger) Infof(format string, args ...any) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.log.Debug("badger: " + message(format, args))
	}
}

func (l *badgerLogger) Debugf(string, ...any) {}

func message(format string, args []any) string {
	return strings.TrimSpace(fmt.Sprintf(format, args...))
}
