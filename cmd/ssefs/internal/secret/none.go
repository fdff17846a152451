package secret

import "context"

// NoTerminal is a Terminal that nobody sits at.
type NoTerminal struct{}

// Ask implements Terminal.
func (NoTerminal) Ask(context.Context, string) ([]byte, error) { return nil, ErrNone }

// Confirm asks nobody and says so.
func (NoTerminal) Confirm(context.Context, string) (bool, error) { return false, ErrNone }
