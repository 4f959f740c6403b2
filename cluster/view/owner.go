// Package view decides who owns what in a cluster, and whether a node may own
// anything at all. It looks at no clock and talks to nobody.
package view

// Owner returns which of nodes owns identity, "" if there are none: rendezvous
// hashing, so that a node that joins or leaves moves only what it gets or had.
func Owner(nodes []string, kind, identity string) string {
	var owner string
	var highest uint64
	for i, node := range nodes {
		if w := weight(node, kind, identity); i == 0 || w > highest || w == highest && node < owner {
			owner, highest = node, w
		}
	}
	return owner
}

// weight is FNV-1a with the finaliser of MurmurHash3 behind it: FNV alone spreads
// nodes whose names differ in the last letter unevenly.
func weight(node, kind, identity string) uint64 {
	h := uint64(14695981039346656037)
	for _, s := range [...]string{node, kind, identity} {
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * 1099511628211
		}
		h = (h ^ 0xff) * 1099511628211 // no octet of UTF-8: ("a", "bc") is not ("ab", "c")
	}
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
