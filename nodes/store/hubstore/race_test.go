//go:build race

package hubstore

// sparing runs a sixth of the cases: with the race detector Pebble checks itself all the
// time, and takes twenty times as long.
const sparing = 6
