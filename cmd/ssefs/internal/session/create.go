package session

import (
	"ssefs/crypto"
	"ssefs/kms"
	"ssefs/store"
)

// create makes a store in the locked, new directory. It leaves nothing open; the header, written last, makes it a store.
func (s *Session) create(secret crypto.Secret) error {
	root, err := crypto.NewKey()
	if err != nil {
		return err
	}
	defer root.Wipe()
	header := crypto.NewHeader(crypto.NewVolumeID())
	if _, err := header.AddSlot(root, secret.Kind(), secret.Bytes(), "", crypto.DefaultArgon2()); err != nil {
		return err
	}
	header.Require(crypto.FeatureJournal)
	keys, err := crypto.DeriveVolumeKeys(root, header.Volume())
	if err != nil {
		return err
	}
	defer keys.Wipe()
	if err := s.createEngine(header, keys, s.options.Settings); err != nil {
		return err
	}
	text, err := header.Marshal(keys)
	if err != nil {
		return err
	}
	if err := s.dir.WriteFile(store.HeaderFile, text); err != nil {
		return err
	}
	return s.dir.FinishCreate()
}

// region is the region that a new volume gets.
func (s Settings) region() string {
	if s.Region == "" {
		return kms.DefaultRegion
	}
	return s.Region
}

// policy is the default policy that a new volume gets.
func (s Settings) policy() (crypto.Policy, error) {
	if s.DefaultPolicy == "" {
		return crypto.Policy{Algorithm: crypto.AlgorithmAES256}, nil
	}
	return crypto.ParsePolicy(s.DefaultPolicy)
}
