package session

import "ssefs/crypto"

// Slots lists the unlock slots.
func (s *Session) Slots() []crypto.SlotInfo {
	s.headerMu.Lock()
	defer s.headerMu.Unlock()
	return s.header.Slots()
}

// AddSlot makes secret another way to unlock the volume. It is durable on return and takes as long as the costs
// of a passphrase slot say.
func (s *Session) AddSlot(secret crypto.Secret, label string) (crypto.SlotInfo, error) {
	var added crypto.SlotInfo
	err := s.changeHeader(func(h *crypto.Header) error {
		id, err := h.AddSlot(s.root, secret.Kind(), secret.Bytes(), label, crypto.DefaultArgon2())
		for _, info := range h.Slots() {
			if info.ID == id {
				added = info
			}
		}
		return err
	})
	return added, err
}

// RemoveSlot takes a way to unlock the volume away; the last one stays.
func (s *Session) RemoveSlot(id int) error {
	return s.changeHeader(func(h *crypto.Header) error { return h.RemoveSlot(id) })
}
