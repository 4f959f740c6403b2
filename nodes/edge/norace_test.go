//go:build !race

package edge

const slow = 1
