// Package simulation runs hub, link, edge and SMSC sessions, the code of
// production, in virtual time from one seed, with everything going wrong that
// the seed asks for, and has package history judge what came of it.
//
//	clients ─▶ hubstore, ring, router, link ═ stripes ═ link, ring, outlet, inlet, edgestore ─▶ SMSC, handsets
//	           └──── a hub process ────┘    simulated   └───────── an edge process ────────┘    simulated
//	                 Pebble on a file system in memory that loses what was not synced
//
// A history is one bubble of testing/synctest: the clock is virtual and moves when
// nobody has anything to do. That alone orders nothing, so that one goroutine
// runs every actor: a mailbox with something in it stands in a run queue, the
// seed's dice say which one takes its next message, and stores commit when an
// event of the same goroutine lets them. The few other goroutines (timers, the
// reader and the writer of a socket) only leave messages, while that one waits for
// them; they are put in an order of their own before it goes on. So a seed is
// a history, whole: the same one each time it runs.
//
// What goes wrong stands in faults.go, what is checked in world.go, promise.go and
// package history. Two hubs share one store, as hubs of a cluster share a database:
// the one that was there first is told only by the fence.
//
// Where it is not production:
//
//   - Actors are wired here (world.go), not by nodes/hub and nodes/edge: what these
//     set, start, stop and drain is not run; processes end by being killed. Nor are
//     linkrpc (the link is wire.go), smsc/conn's dialling, leases and placement (a take-over
//     is a Claim), nodes/hub's sending and the devices (clients call the store).
//   - The store's committer is not a goroutine: kv's Defer has a commit happen as one
//     event, so that no two commits of a store are under way, and one is torn only
//     where the power fails at its fsync. Writes that have time (Spaced) wait as long
//     as others, and no caller leads.
//   - Keep waits for room on the thread (patient), where a store would on a timer.
//   - Rings have 1 to 16 slots, links 1 to 4 stripes, an SMSC 1 or 2 sessions; 10 to 40
//     texts, 2 people, 3 handsets, one edge. No session has a rate, no message fails by
//     retry.attempts, no code is undefined, no alphabet is forced.
//   - The store is the embedded one; PostgreSQL's passes package conformance.
//   - A disk has no rotten bits (package kv's tests); it loses its last writes in whole
//     sectors, at a power cut, and is neither lost nor restored (tests/torture).
//   - A wall clock that jumps is seen by who asks Now, and by no timer: as on a real
//     machine, what the edge measures goes on (clock.go).
//   - What lasts days (hub and edge are off) has neither of them run meanwhile; a path
//     is cut for minutes at most.
package simulation
