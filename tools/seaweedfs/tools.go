//go:build tools

// Package tools names the program that this module exists to build, at the versions of its go.sum.
package tools

import _ "github.com/seaweedfs/seaweedfs/weed"
