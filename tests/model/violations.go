package model

// Violation is a rule that a world can be told not to keep, and the invariant
// that the search must then find violated.
type Violation struct {
	Invariant string // "END": not everything that was begun can end
	Config
}

// Violations has at least one for each invariant of Invariants.
var Violations = []Violation{
	{"I1", Config{Slots: 2, Messages: 3, Queued: 3, Break: []string{"slot free when confirmed"}}},
	{"I2", Config{Slots: 2, Messages: 2, Queued: 2, HubCrashes: 1, Break: []string{"sequences begin anew after a restart"}}},
	{"I3", Config{Slots: 2, Messages: 2, Queued: 2, Break: []string{"confirmed up to the highest"}}},
	{"I3", Config{Slots: 2, Messages: 2, Queued: 2, Break: []string{"slot free before the result is durable"}}},
	{"I4", Config{Slots: 2, Messages: 2, Queued: 2, Break: []string{"confirmed up to the highest"}}},
	{"I4", Config{Slots: 2, Messages: 2, Queued: 2, Moves: 1, Takeovers: 1, Break: []string{"epoch not checked"}}},
	{"I5", Config{Slots: 2, Messages: 1, Break: []string{"acknowledged before sync"}}},
	{"I5", Config{Slots: 2, Messages: 1, Break: []string{"confirmed before sync"}}},
	{"I5", Config{Slots: 2, Messages: 1, Break: []string{"answered before the outcome is durable"}}},
	{"I5", Config{Up: true, Slots: 2, Messages: 1, Break: []string{"acknowledged before sync"}}},
	{"I6", Config{Slots: 2, Messages: 1, Queued: 1, Break: []string{"a duplicate is handed on again"}}},
	{"I6", Config{Up: true, Slots: 2, Messages: 1, Queued: 1, Break: []string{"a duplicate is handed on again", "deliver without looking at the slot"}}},
	{"I6", Config{Slots: 2, Messages: 2, Queued: 2, Break: []string{"released before the result is durable"}}},
	{"I7", Config{Slots: 2, Messages: 2, Queued: 2, Keys: 2, Break: []string{"next submit before the outcome is durable"}}},
	{"I8", Config{Slots: 2, Messages: 2, Queued: 2, Takeovers: 1, Break: []string{"write without the epoch"}}},
	{"I8", Config{Slots: 2, Messages: 1, Queued: 1, Break: []string{"welcome before the epoch is durable"}}},
	{"I8", Config{Slots: 2, Messages: 2, Queued: 2, Moves: 1, Takeovers: 1, Break: []string{"epoch not checked"}}},
	{"I9", Config{Slots: 2, Messages: 2, Queued: 2, Keys: 2, Break: []string{"two submits at a time"}}},
	{"I10", Config{Slots: 2, Messages: 1, Queued: 1, Break: []string{"transmit before the assignment is durable"}}},
	{"I10", Config{Slots: 2, Messages: 2, Queued: 2, Takeovers: 1, Break: []string{"write without the epoch"}}},
	{"I12", Config{Slots: 2, Messages: 3, Queued: 3, Break: []string{"slot free when confirmed"}}},
	{"I12", Config{Slots: 2, Messages: 2, Queued: 2, Break: []string{"released before the result is durable"}}},
	{"I14", Config{Slots: 2, Messages: 2, Queued: 2, Break: []string{"retrieve not the head"}}},
	{"I14", Config{Slots: 2, Messages: 2, Queued: 2, Break: []string{"order key ignored"}}},
	{"I15", Config{Slots: 2, Messages: 1, Queued: 1, Break: []string{"submit before the intent is durable"}}},
	{"I15", Config{Slots: 2, Messages: 1, Queued: 1, Broken: 1, Break: []string{"a doubt is not recorded"}}},
	{"I15", Config{Slots: 2, Messages: 1, Queued: 1, EdgeCrashes: 1, Break: []string{"a doubt is not recorded"}}},
	{"END", Config{Slots: 2, Messages: 1, Queued: 1, Cuts: 1, Break: []string{"nothing is resent"}}},
	{"END", Config{Slots: 2, Messages: 1, Queued: 1, Cuts: 1, Break: []string{"no answer is repeated"}}},
}

// Quick is walked by every run of the tests, Whole by make model: all of each
// world's states.
var (
	Quick = []Config{
		{Name: "down, third round", Slots: 2, Messages: 5, Queued: 5, Keys: 2},
		{Name: "down, accepting", Slots: 2, Messages: 3, Queued: 1, Keys: 2},
		{Name: "down, hub crashes", Slots: 2, Messages: 3, Queued: 3, Keys: 2, HubCrashes: 1},
		{Name: "down, edge crashes", Slots: 2, Messages: 3, Queued: 3, Keys: 2, EdgeCrashes: 1},
		{Name: "down, SMSC does not answer", Slots: 2, Messages: 3, Queued: 3, Keys: 2, Broken: 2},
		{Name: "down, cut", Slots: 2, Messages: 3, Queued: 3, Keys: 2, Cuts: 1},
		{Name: "down, take-over", Slots: 1, Messages: 2, Queued: 2, Keys: 1, Takeovers: 1, Moves: 1},
		{Name: "up, hub crashes", Up: true, Slots: 2, Messages: 3, Queued: 3, Keys: 2, HubCrashes: 1},
		{Name: "up, edge crashes", Up: true, Slots: 2, Messages: 3, Queued: 2, Keys: 2, EdgeCrashes: 1},
		{Name: "up, cut and stripe", Up: true, Slots: 2, Messages: 3, Queued: 3, Keys: 2, Cuts: 1, Lost: 1},
		{Name: "up, take-over", Up: true, Slots: 1, Messages: 2, Queued: 2, Keys: 1, Takeovers: 1, Moves: 1},
	}
	Whole = []Config{
		{Name: "down, 3 slots", Slots: 3, Messages: 4, Queued: 4, Keys: 2},
		{Name: "down, third round, both crash", Slots: 2, Messages: 4, Queued: 4, Keys: 2, HubCrashes: 1, EdgeCrashes: 1},
		{Name: "down, edge crashes twice, SMSC does not answer", Slots: 2, Messages: 3, Queued: 3, Keys: 2, EdgeCrashes: 2, Broken: 1},
		{Name: "down, cuts and stripes", Slots: 2, Messages: 3, Queued: 3, Keys: 2, Cuts: 2, Lost: 1},
		{Name: "down, accepting, crashes, cut", Slots: 2, Messages: 3, Queued: 1, Keys: 1, HubCrashes: 1, EdgeCrashes: 1, Cuts: 1},
		{Name: "down, take-over", Slots: 2, Messages: 2, Queued: 2, Keys: 2, Takeovers: 1, Moves: 1},
		{Name: "down, take-over and crash of the edge", Slots: 1, Messages: 2, Queued: 2, Keys: 1, Takeovers: 1, Moves: 1, EdgeCrashes: 1},
		{Name: "up, third round, both crash", Up: true, Slots: 2, Messages: 4, Queued: 4, Keys: 2, HubCrashes: 1, EdgeCrashes: 1},
		{Name: "up, accepting, crashes, cut", Up: true, Slots: 2, Messages: 3, Queued: 1, Keys: 2, HubCrashes: 1, EdgeCrashes: 1, Cuts: 1},
		{Name: "up, take-over", Up: true, Slots: 2, Messages: 2, Queued: 2, Keys: 2, Takeovers: 1, Moves: 1},
		{Name: "up, take-over and crash of the edge", Up: true, Slots: 1, Messages: 2, Queued: 2, Keys: 1, Takeovers: 1, Moves: 1, EdgeCrashes: 1},
	}
)
