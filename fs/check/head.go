package check

import (
	"errors"

	"ssefs/crypto"
	"ssefs/fs/record"
	"ssefs/store"
)

// checkHead reads the head, and compares it with the snapshot's version, with
// the copy that is kept outside the database and with the settings.
func (c *checker) checkHead() error {
	key := record.HeadKey()
	err := c.get(key)
	switch {
	case errors.Is(err, store.ErrNotFound):
		c.problem(Head, Error, 0, "the head record is missing")
		return nil
	case err != nil:
		c.problem(Head, Error, 0, "head record: %v", err)
		return nil
	}
	head, err := record.DecodeHead(c.plain)
	if err != nil {
		c.problem(Head, Error, 0, "head record: %v", err)
		return nil
	}
	c.head = head
	if v := c.View.Version(); v != head.Version {
		c.problem(Head, Error, 0, "the head is of version %d, the store at %d: records were put back or lost", head.Version, v)
	}
	c.checkHeadCopy()
	c.checkSettings()
	return nil
}

func (c *checker) checkHeadCopy() {
	if c.HeadCopy == nil {
		return
	}
	if err := c.open(record.HeadKey(), c.HeadCopy); err != nil {
		c.problem(Head, Warning, 0, "the copy of the head beside the database: %v", err)
		return
	}
	saved, err := record.DecodeHead(c.plain)
	if err != nil {
		c.problem(Head, Warning, 0, "the copy of the head beside the database: %v", err)
		return
	}
	switch {
	case saved.Version > c.head.Version:
		c.problem(Rollback, Error, 0, "the database is at version %d, but was at %d when the volume was last unmounted", c.head.Version, saved.Version)
	case saved.Version == c.head.Version && *saved != *c.head:
		c.problem(Rollback, Error, 0, "the head is not the one that the volume was unmounted with, though of the same version %d", saved.Version)
	}
}

func (c *checker) checkSettings() {
	err := c.get(record.SettingsKey())
	if errors.Is(err, store.ErrNotFound) {
		if c.head.Settings != 0 {
			c.problem(Settings, Error, 0, "the settings record, of version %d, is missing", c.head.Settings)
		}
		return
	}
	if err != nil {
		c.problem(Unreadable, Error, 0, "settings record: %v", err)
		return
	}
	s, err := record.DecodeSettings(c.plain)
	if err != nil {
		c.problem(Unreadable, Error, 0, "settings record: %v", err)
		return
	}
	if s.Version != c.head.Settings {
		c.problem(Settings, Error, 0, "the settings are of version %d, not %d", s.Version, c.head.Settings)
		return
	}
	if _, err := crypto.ParsePolicy(s.DefaultPolicy); err != nil {
		c.problem(Settings, Error, 0, "default policy: %v", err)
	}
}

// checkTotals compares the head's counters with what was found.
func (c *checker) checkTotals() error {
	if c.head == nil {
		return nil
	}
	if c.head.Inodes != c.totals.inodes {
		c.problem(Totals, Error, 0, "the volume has %d inodes, its head counts %d", c.totals.inodes, c.head.Inodes)
	}
	if c.head.Blocks != c.totals.blocks {
		c.problem(Totals, Error, 0, "the volume's files have %d blocks, its head counts %d", c.totals.blocks, c.head.Blocks)
	}
	return nil
}
