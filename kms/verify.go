package kms

import "fmt"

// Verify returns what is wrong with the files of a keystore that Open would use
// all the same: a copy that is damaged, missing or older than a crash can leave
// it, usage counts, and the audit log. It changes nothing.
func Verify(o Options) []error {
	s, err := newService(&o)
	if err != nil {
		return []error{err}
	}
	var problems []error
	a, b := s.ks.readCopy(FileA), s.ks.readCopy(FileB)
	defer wipeModels(a.m, b.m)
	// The first copy is written first: a crash leaves the second one change behind.
	for c, least := range map[*copyState]uint64{&a: o.Generation, &b: max(o.Generation, 1) - 1} {
		switch {
		case c.m == nil:
			problems = append(problems, fmt.Errorf("%w: %s: %w", ErrKeystoreDamaged, c.name, c.err))
		case c.m.generation < least:
			problems = append(problems, fmt.Errorf("%w: %s, where the store knows generation %d", ErrRollback, c.generation(), o.Generation))
		}
	}
	if o.Logs == nil {
		return problems
	}
	if err := s.meter.load(o.Logs, s.ks.aead, o.Volume); err != nil {
		problems = append(problems, fmt.Errorf("%s: %w", FileUsage, err))
	}
	for _, c := range []copyState{a, b} {
		if c.m == nil || c.m.generation != o.Generation {
			continue
		}
		for _, l := range []*auditLog{s.auditKeys, s.auditUse} {
			if err := l.records(c.m.audit[l.index], func(AuditRecord) error { return nil }); err != nil {
				problems = append(problems, err)
			}
		}
		break
	}
	return problems
}
