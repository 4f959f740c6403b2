// Package cluster makes nodes one cluster: who is alive, who owns what, and how
// their actors reach each other.
//
//	Node ──┬── Provider   memberlist: who is there, who drains, what they say about themselves
//	       ├── Lookup     which node owns an identity; finds its grain, activates it there
//	       │     ├── placement   actor: runs this node's grains, moves them, stops them
//	       │     └── keeper      renews the node's lease, fences the node when it cannot
//	       └── remote     protoactor's, with mutual TLS, limits and a filter
//
// A grain is an actor with a name (kind and identity) of which there is at most one
// in the cluster. It lives where rendezvous hashing over the members' names puts it,
// and only while its node holds a lease in a store that all share
// ([journal.Leases]), under an epoch that is higher than all before: writes that are
// conditional on the epoch are the last line, whatever a paused process believes.
//
// # Who may own
//
// A node renews its lease every fifth of its TTL and counts it from before it asked.
// When 0.8 TTL have passed without success it stops all its grains: before anybody
// can take over. So does a node that, for a TTL, has seen less than the majority of
// the nodes with running leases; it then ends its lease, so that the majority takes
// over, and takes up again by itself when it sees the majority.
//
// # Moving
//
// A grain that another node is to own, because that joined or this one drains, is
// poisoned, or told to [Leave] if its kind hands over. Until it has stopped it is
// found by everybody, because who is to own it next learns from the store who still
// does. Then the identity is released, and grains of kinds that hand over are
// activated at the next owner at once.
//
// # What protoactor does not do well, and what is done about it
//
//   - Its identity lookup activates a grain twice for good: [Lookup] instead.
//   - It never takes a member back: [Provider] gives it another id.
//   - Messages of unknown types and wild indices end the process: filtered, and
//     recovered from.
//   - It throws away what is queued for a member that drains: draining members stay
//     in its topology.
//   - It takes a connection that it closed itself for a lost one, and closes the
//     next for that, endlessly under load: such an end is shown to it as an end.
//   - It drops what is in a stopped actor's mailbox: grains have a mailbox that
//     answers it as dead letters, upon which [Node.Request] asks the next owner.
//   - Its gossip blocks members for good: [Node] runs without.
//   - Its Shutdown panics, sleeps, and closes channels in use: [Node.Stop] takes it
//     down in another order.
//
// What remains: messages between nodes are sent at most once, and those in a
// connection that breaks are lost without a word. Whatever must not get lost is in
// the store, and its owner looks there.
package cluster
