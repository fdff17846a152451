package kms

// Still calls fn while neither the keystore nor what lies beside it is changed,
// for the files to be copied together. fn must not call the Service.
func (s *Service) Still(fn func() error) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	if s.state == nil {
		return ErrClosed
	}
	s.recordMu.Lock()
	defer s.recordMu.Unlock()
	return fn()
}
