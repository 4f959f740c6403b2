package kv

import (
	"fmt"
	"os"
	"sort"
	"testing"
	"time"
)

func TestZZ(t *testing.T) {
	dir, _ := os.MkdirTemp("/work/.zz", "k")
	defer os.RemoveAll(dir)
	f, _ := os.Create(dir + "/raw")
	b := make([]byte, 250)
	p := func(n string, d []time.Duration) {
		sort.Slice(d, func(i, j int) bool { return d[i] < d[j] })
		var sum time.Duration
		for _, x := range d {
			sum += x
		}
		fmt.Println(n, "p50", d[len(d)/2], "p90", d[len(d)*9/10], "p99", d[len(d)*99/100], "mean", sum/time.Duration(len(d)))
	}
	var d []time.Duration
	for i := 0; i < 2000; i++ {
		f.Write(b)
		at := time.Now()
		f.Sync()
		d = append(d, time.Since(at))
	}
	p("raw", d)
	db, err := Open(Options{Dir: dir + "/db", Node: "x"})
	if err != nil {
		t.Fatal(err)
	}
	d = nil
	for i := 0; i < 2000; i++ {
		at := time.Now()
		done := make(chan error, 1)
		var bt Batch
		bt.Set([]byte(fmt.Sprint(i)), b)
		db.Commit(&bt, func(err error) { done <- err })
		<-done
		d = append(d, time.Since(at))
	}
	p("kv", d)
	db.Close()
}
