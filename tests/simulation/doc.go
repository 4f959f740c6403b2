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
// the one that was there first is told only by the fence. Not simulated: bits that
// rot on a disk (package kv's tests), a lost disk and restores (tests/torture), and
// of a wall clock that jumps on the edge only what its journal asks it.
package simulation
