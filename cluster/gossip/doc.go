// Package gossip lets hubs and edges hear of each other over the WAN, beside the
// link: memberlist pools of their own, apart from the one that makes hubs a cluster.
// Edges learn the hubs and their link addresses from it; hubs get a second opinion
// on edges. Both are hints: the link's heartbeats decide, and where nobody gossips
// nothing else is missing.
//
//	per_edge (default)   one pool for each edge: all hubs and that edge
//	shared               one pool of all, where there are at most ten edges or they
//	                     all reach each other
//
// Edges usually cannot reach each other. In one large pool the word that a suspected
// member is alive then often reaches no hub in time, and healthy edges are called dead
// by the dozen; a pool of an edge's own does not depend on the others.
//
// All pools of a node share one port, UDP and TCP: each packet and each stream names
// its pool in memberlist's label header.
package gossip
