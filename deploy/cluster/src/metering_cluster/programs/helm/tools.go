//go:build tools

// Package programs names what is built here; go.sum holds each module to its checksum.
package programs

import (
	_ "helm.sh/helm/v3/cmd/helm"
)
