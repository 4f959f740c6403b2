package simulator

import (
	"slices"
	"testing"
	"time"
)

func BenchmarkAlarm(b *testing.B) {
	a, err := newAlarm()
	if err != nil {
		b.Fatal(err)
	}
	defer a.close()
	var late []time.Duration
	for range b.N {
		due := time.Now().Add(time.Millisecond)
		a.set(time.Until(due))
		<-a.C
		late = append(late, time.Since(due))
	}
	slices.Sort(late)
	b.ReportMetric(float64(late[len(late)/10].Microseconds()), "µs-late-p10")
	b.ReportMetric(float64(late[len(late)/2].Microseconds()), "µs-late-median")
	b.ReportMetric(float64(late[len(late)*9/10].Microseconds()), "µs-late-p90")
	b.ReportMetric(float64(late[len(late)*99/100].Microseconds()), "µs-late-p99")
}
