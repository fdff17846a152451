package main

import (
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"ssefs/crypto"
)

// version is the release, as in CHANGELOG.md.
const version = "0.1.0"

// versionInfo is what 'ssefs version --json' prints.
type versionInfo struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Format   int    `json:"format"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func (a *app) versionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Show the version of the program and of the volume format",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			info := versionInfo{
				Version:  version,
				Format:   crypto.FormatVersion,
				Go:       runtime.Version(),
				Platform: runtime.GOOS + "/" + runtime.GOARCH,
			}
			if build, ok := debug.ReadBuildInfo(); ok {
				for _, s := range build.Settings {
					if s.Key == "vcs.revision" {
						info.Revision = s.Value
					}
				}
			}
			return a.show(info, func(w io.Writer) {
				row(w, "ssefs", info.Version)
				if info.Revision != "" {
					row(w, "revision", info.Revision)
				}
				row(w, "volume format", info.Format)
				row(w, info.Go, info.Platform)
			})
		},
	}
	return a.jsonFlag(cmd)
}
