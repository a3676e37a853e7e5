//go:build tools

// Package programs names what is built here; go.sum holds each module to its checksum.
package programs

import (
	_ "sigs.k8s.io/metrics-server/cmd/metrics-server"
)
