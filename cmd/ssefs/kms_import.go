package main

import (
	"bytes"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ssefs/cmd/ssefs/internal/exit"
	"ssefs/cmd/ssefs/internal/interval"
	"ssefs/cmd/ssefs/internal/ops"
	"ssefs/kms"
)

// maxImport bounds the files of an import in bytes.
const maxImport = 64 << 10

func (a *app) kmsImportParametersCommand() *cobra.Command {
	var keyFile, tokenFile string
	cmd := &cobra.Command{
		Use:   "get-import-parameters KEY --public-key-file FILE --token-file FILE",
		Short: "Get what key material is imported with",
		Long: `Get a public key and a token to import material into a key of origin EXTERNAL. They are valid together
for 24 hours, for this key, until they are asked for anew. The public key is RSA, in PEM. Encrypt 32 bytes of
material with it:

    openssl pkeyutl -encrypt -pubin -inkey public.pem -in material -out material.encrypted \\
        -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256 -pkeyopt rsa_mgf1_md:sha256`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeKeys,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !a.json && (keyFile == "" || tokenFile == "") {
				return exit.With(exit.Usage, errors.New("say where to write them: --public-key-file and --token-file (or --json)"))
			}
			return a.with(cmd.Context(), nil, func(t *target) error {
				var p kms.ImportParameters
				if err := t.Call(cmd.Context(), ops.KeyImportParameters, ops.KeyRequest{Key: args[0]}, &p); err != nil {
					return err
				}
				public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: p.PublicKey})
				token := base64.StdEncoding.EncodeToString(p.Token) + "\n"
				if err := errors.Join(writeIfNamed(keyFile, public), writeIfNamed(tokenFile, []byte(token))); err != nil {
					return err
				}
				return a.show(p, func(w io.Writer) {
					row(w, "Key:", p.KeyID)
					row(w, "Public key:", keyFile)
					row(w, "Token:", tokenFile)
					row(w, "Valid until:", p.Expires)
				})
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&keyFile, "public-key-file", "", "write the public key, in PEM, to `FILE`")
	f.StringVar(&tokenFile, "token-file", "", "write the import token to `FILE`")
	return a.jsonFlag(a.volumeFlags(cmd))
}

func writeIfNamed(path string, text []byte) error {
	if path == "" {
		return nil
	}
	return os.WriteFile(path, text, 0o600)
}

func (a *app) kmsImportCommand() *cobra.Command {
	var materialFile, tokenFile, expires string
	cmd := &cobra.Command{
		Use:   "import KEY --material-file FILE --token-file FILE",
		Short: "Give a key of origin EXTERNAL its material",
		Long: `Import key material, encrypted as 'ssefs kms get-import-parameters --help' says. A key that had material
before takes the same again, and nothing else; while it still has it, only the expiry changes. Keep the material:
the volume gives it to nobody.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeKeys,
		RunE: func(cmd *cobra.Command, args []string) error {
			req := ops.ImportRequest{Key: args[0]}
			var err error
			if materialFile == "" || tokenFile == "" {
				return exit.With(exit.Usage, errors.New("say where they are: --material-file and --token-file"))
			}
			if expires != "" {
				if req.Expires, err = interval.ParseTime(expires, time.Now(), 1); err != nil {
					return exit.With(exit.Usage, err)
				}
			}
			if req.Wrapped, err = readSmall(materialFile); err != nil {
				return err
			}
			token, err := readSmall(tokenFile)
			if err != nil {
				return err
			}
			if req.Token, err = base64.StdEncoding.DecodeString(strings.TrimSpace(string(token))); err != nil {
				return fmt.Errorf("%s: not an import token", tokenFile)
			}
			return a.callKey(cmd, ops.KeyImport, req)
		},
	}
	f := cmd.Flags()
	f.StringVar(&materialFile, "material-file", "", "the encrypted material, in `FILE`")
	f.StringVar(&tokenFile, "token-file", "", "the import token, in `FILE`")
	f.StringVar(&expires, "expires", "", "when the material stops being usable: a `TIME` such as 2027-01-31 or 30d; never, unless given")
	return a.jsonFlag(a.volumeFlags(cmd))
}

// readSmall reads a file that has no reason to be long.
func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	n, err := io.Copy(&b, io.LimitReader(f, maxImport+1))
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil && n > maxImport {
		err = fmt.Errorf("%s: too long", path)
	}
	return b.Bytes(), err
}

func (a *app) kmsDeleteMaterialCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "delete-material KEY",
		Short: "Destroy the imported material of a key, now",
		Long: `Destroy the imported material of a key, at once. Its files cannot be opened until the same material is
imported again.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeKeys,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), nil, func(t *target) error {
				req := ops.KeyRequest{Key: args[0]}
				var k ops.Key
				if err := t.Call(cmd.Context(), ops.KeyDescribe, req, &k); err != nil {
					return err
				}
				if k.Origin == kms.OriginExternal.String() && k.State != kms.PendingImport.String() { // or it will be refused
					if err := a.thinkOver(cmd.Context(), t, consentOf(yes), k, "Destroy the material of key "+k.ID+"?"); err != nil {
						return err
					}
				}
				if err := t.Call(cmd.Context(), ops.KeyDeleteMaterial, req, &k); err != nil {
					return err
				}
				return a.showKey(k)
			})
		},
	}
	yesFlag(cmd, &yes)
	return a.jsonFlag(a.volumeFlags(cmd))
}
