//go:build race

package edge

const slow = 4 // times of what is timed under the race detector
