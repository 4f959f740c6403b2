//go:build !race

package cluster

const slow = 1
