package kms

// Subscribe has fn called whenever a key stops being usable, or is usable again,
// after the change is durable and in effect. A change returns to its caller only
// when all subscribers have; changes deliver their events one after the other, in
// the order in which they took effect. No lock is held: fn may use keys and read
// the service's state, but it must not change keys, which would wait for itself.
// The function returned ends the subscription.
func (s *Service) Subscribe(fn func(Event)) (cancel func()) {
	s.subMu.Lock()
	defer s.subMu.Unlock()
	s.subID++
	id := s.subID
	s.subs[id] = fn
	return func() {
		s.subMu.Lock()
		defer s.subMu.Unlock()
		delete(s.subs, id)
	}
}

// deliver calls the subscribers.
func (s *Service) deliver(events []Event) {
	s.subMu.Lock()
	subs := make([]func(Event), 0, len(s.subs))
	for _, fn := range s.subs {
		subs = append(subs, fn)
	}
	s.subMu.Unlock()
	for _, e := range events {
		for _, fn := range subs {
			fn(e)
		}
	}
}
