package main

import (
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// unhurried is how long something may take before its progress is shown.
const unhurried = time.Second

// progressBar shows how far a long command is: a bar on a terminal, a line every few seconds elsewhere. It is used by
// one goroutine.
type progressBar struct {
	app          *app
	onTTY        bool
	begun        time.Time
	told         time.Time
	what         string
	bar          *progressbar.ProgressBar
	betweenLines time.Duration
}

func (a *app) progress() *progressBar {
	return &progressBar{app: a, onTTY: a.onTerminal(), begun: time.Now(), betweenLines: 10 * time.Second}
}

// onTerminal tells whether messages go to a terminal.
func (a *app) onTerminal() bool {
	f, ok := a.err.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// step tells that done of total units of a step are done; total is 0 if it is not known.
func (p *progressBar) step(done, total int64, what string) {
	now := time.Now()
	switch {
	case now.Sub(p.begun) < unhurried:
	case p.onTTY:
		p.draw(done, total, what)
	case now.Sub(p.told) >= p.betweenLines:
		p.told = now
		if total > 0 {
			p.app.note("%s: %d of %d", what, done, total)
		} else {
			p.app.note("%s: %d", what, done)
		}
	}
}

func (p *progressBar) draw(done, total int64, what string) {
	if total <= 0 {
		total = -1
	}
	if p.bar == nil || p.what != what {
		p.close()
		p.what = what
		p.bar = progressbar.NewOptions64(total,
			progressbar.OptionSetWriter(p.app.err), progressbar.OptionSetDescription(what),
			progressbar.OptionSetWidth(30), progressbar.OptionShowCount(), progressbar.OptionClearOnFinish(),
			progressbar.OptionUseANSICodes(true))
	}
	if total > 0 {
		p.bar.ChangeMax64(total)
	}
	_ = p.bar.Set64(done) // a terminal that cannot be drawn on is no reason to stop
}

// close takes the bar off the terminal.
func (p *progressBar) close() {
	if p.bar != nil {
		_ = p.bar.Clear()
		p.bar = nil
	}
}
