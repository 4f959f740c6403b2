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
// What goes wrong stands in faults.go, what is checked in world.go and package
// history. Not simulated: a disk that is full or whose fsync fails, bits that rot
// on it, a wall clock that jumps under a running process (a process that stands
// still for long is), a second hub.
package simulation
