// Package link holds the actors between hub and edge: mirrored rings, their
// slots, the link session over its stripes, and what brings both sides back in
// step after an interruption.
//
//	node (hub or edge)
//	├── supervisor            one; starts a synchronisation actor for each interrupted link
//	│   └── synchronisation   from interruption to rings that agree (patent, figure 3)
//	└── for each edge
//	    ├── session           the link: stripes, frames, heartbeats; holds no message
//	    ├── buffer            sender's ring: owns its pointers
//	    │   └── slot × N      the only holder of its message
//	    ├── mirror            receiver's ring
//	    │   └── mirror slot × N
//	    └── status log        edge: numbered facts learnt later; hub: their applier
//
// The hub's buffer is the down ring's, the edge's the up ring's; the mirrors
// are the other way round. Slots are resumed when they fail: a restart would
// lose the message they hold in memory. Everything else that fails stops the
// node, which starts again from its journal.
//
// The way of a message: the buffer retrieves it from the queue (its assignment
// is durable by then) and fills a slot; the slot transmits it to the session,
// which puts it into a frame; the other side's session gives it to the mirror,
// whose slot keeps it on disk: Confirmed. The mirror slot hands it on (to the
// outlet at the edge, to the router at the hub), gets an answer, and sends it
// back: the slot records it durably, Processed, and both are free.
package link
