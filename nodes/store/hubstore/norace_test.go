//go:build !race

package hubstore

const sparing = 1
