package messages

import "time"

// Member is a node of a cluster of hubs as the nodes see it.
type Member struct {
	Name       string            // as configured; the same after a restart
	ID         string            // another one in each incarnation
	Address    string            // of its actors: host:port of protoactor's remote
	Kinds      []string          // of grains that it can run
	Attributes map[string]string // what it tells about itself
	Draining   bool              // it gives away what it owns and takes nothing on
	Self       bool
}

// Leave (placement of grains to a grain of a kind with hand-over): node To is to
// own you. Prepare whoever talks to you, then stop yourself; after Within you are
// poisoned. You own what you own until you have stopped.
type Leave struct {
	To     Member
	Within time.Duration
}

// Fenced (placement of grains to a grain): the node's lease can be lost any
// moment. Write nothing and send nothing any more; you are stopped presently.
type Fenced struct{}
