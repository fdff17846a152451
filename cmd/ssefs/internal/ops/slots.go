package ops

import (
	"context"

	"ssefs/cmd/ssefs/internal/control"
	"ssefs/crypto"
)

// Slot describes an unlock slot.
type Slot struct {
	ID    int    `json:"slot"`
	Kind  string `json:"kind"` // passphrase or key-file
	Label string `json:"label,omitempty"`
	// The costs of a passphrase slot.
	Argon2Time      uint32 `json:"argon2_time,omitempty"`
	Argon2MemoryKiB uint32 `json:"argon2_memory_kib,omitempty"`
	Argon2Threads   uint8  `json:"argon2_threads,omitempty"`
}

// SlotRequest asks for a slot to be added or removed. Secret travels over the private socket only.
type SlotRequest struct {
	ID     int             `json:"slot,omitempty"`
	Kind   crypto.SlotKind `json:"kind,omitempty"`
	Secret []byte          `json:"secret,omitempty"`
	Label  string          `json:"label,omitempty"`
}

func (o *Operations) slotAdd(_ context.Context, peer control.Peer, req SlotRequest) (Slot, error) {
	defer clear(req.Secret)
	secret := crypto.KeyFileSecret(req.Secret)
	if req.Kind == crypto.SlotPassphrase {
		secret = crypto.PassphraseSecret(req.Secret)
	}
	info, err := o.session.AddSlot(secret, req.Label)
	if err != nil {
		return Slot{}, err
	}
	o.session.Logger().Info("unlock slot added", "slot", info.ID, "kind", info.Kind.String(), "uid", peer.UID)
	return describeSlot(info), nil
}

func (o *Operations) slotList(context.Context, control.Peer, None) ([]Slot, error) {
	slots := []Slot{}
	for _, info := range o.session.Slots() {
		slots = append(slots, describeSlot(info))
	}
	return slots, nil
}

func (o *Operations) slotRemove(_ context.Context, peer control.Peer, req SlotRequest) (None, error) {
	err := o.session.RemoveSlot(req.ID)
	if err == nil {
		o.session.Logger().Info("unlock slot removed", "slot", req.ID, "uid", peer.UID)
	}
	return None{}, err
}

func describeSlot(i crypto.SlotInfo) Slot {
	return Slot{
		ID: i.ID, Kind: i.Kind.String(), Label: i.Label,
		Argon2Time: i.Argon2.Time, Argon2MemoryKiB: i.Argon2.MemoryKiB, Argon2Threads: i.Argon2.Threads,
	}
}
