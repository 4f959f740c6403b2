package simulation

import (
	"testing"
	"time"
)

func TestReading(t *testing.T) {
	wall := time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)
	before, after := reading(wall, time.Minute), reading(wall.Add(-6*time.Hour), time.Minute+time.Second)
	if !before.Round(0).Equal(wall) || !after.Round(0).Equal(wall.Add(-6*time.Hour)) {
		t.Errorf("they show %v and %v", before, after)
	}
	if d := after.Sub(before); d != time.Second {
		t.Errorf("%v lie between them", d)
	}
}
