//go:build race

package cluster

const slow = 4 // times of gossip and leases under the race detector
