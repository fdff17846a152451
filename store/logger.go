package store

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
)

// badgerLogger passes Badger's messages on. Badger is talkative: what it calls
// information is debugging here, and what it calls errors are warnings, as the
// store returns errors of its own.
type badgerLogger struct {
	log *slog.Logger
	// syncFailed is closed when Badger reports that it could not sync the value
	// log. See DB.await.
	syncFailed chan struct{}
	failOnce   sync.Once
	// flushFailed is closed when Badger reports that it could not flush a memtable,
	// which it tries again and again, also when it is closed.
	flushFailed chan struct{}
	flushOnce   sync.Once
	// rewriting is called when garbage collection begins to rewrite a file.
	rewriting func()
}

func newBadgerLogger(log *slog.Logger) *badgerLogger {
	return &badgerLogger{log: log, syncFailed: make(chan struct{}), flushFailed: make(chan struct{}), rewriting: func() {}}
}

// syncFailure is how the message about a failed value log sync begins (value.go
// in Badger v4.9.6; TestValueLogSyncFailureIsNoticed watches over it).
const syncFailure = "Error while curlf sync"

// flushFailure is how the message about a failed flush begins (db.go in Badger
// v4.9.6).
const flushFailure = "error flushing memtable to disk"

// rewriteBegins is how the message begins that garbage collection writes just
// before it asks for the last version (value.go, valueLog.rewrite).
const rewriteBegins = "Rewriting fid"

// readFailures begin the messages about a value that could not be read. Reads
// that garbage collection gets in the way of cause them too, and are repeated.
func readFailures() []string { return []string{"Unable to read: Key", "Key: %v, Version"} }

// returned begins the message about an error of opening, which is returned too.
const returned = "Received err: "

// Errorf logs an error. It does not return to Badger's writer when the value log
// could not be synced: see DB.await.
func (l *badgerLogger) Errorf(format string, args ...any) {
	for _, prefix := range append(readFailures(), returned) {
		if strings.HasPrefix(format, prefix) {
			l.Infof(format, args...)
			return
		}
	}
	l.log.Warn("badger: " + message(format, args))
	if strings.HasPrefix(format, flushFailure) {
		l.flushOnce.Do(func() { close(l.flushFailed) })
	}
	if strings.HasPrefix(format, syncFailure) {
		l.failOnce.Do(func() { close(l.syncFailed) })
		runtime.Goexit()
	}
}

func (l *badgerLogger) Warningf(format string, args ...any) {
	l.log.Info("badger: " + message(format, args))
}

func (l *badgerLogger) Infof(format string, args ...any) {
	if strings.HasPrefix(format, rewriteBegins) {
		l.rewriting()
	}
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.log.Debug("badger: " + message(format, args))
	}
}

func (l *badgerLogger) Debugf(string, ...any) {}

func message(format string, args []any) string {
	return strings.TrimSpace(fmt.Sprintf(format, args...))
}
