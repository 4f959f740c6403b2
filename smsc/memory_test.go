package smsc

import (
	"fmt"
	"testing"
)

// What was handed out stays as it is, whatever is handed out afterwards.
func TestMemoryIsHandedOutOnce(t *testing.T) {
	var slab Slab[int]
	var texts Texts
	var octets Octets
	var values []*int
	var strings []string
	var pieces [][]byte
	for i := range 1000 {
		v := slab.New()
		if *v != 0 {
			t.Fatalf("value %d is %d, not zero", i, *v)
		}
		*v = i
		values = append(values, v)
		strings = append(strings, texts.Text(fmt.Append(nil, i)), texts.Join("a", fmt.Sprint(i), "b"))
		p := octets.New(i % 300)
		for j := range p {
			if p[j] != 0 {
				t.Fatalf("octet %d of piece %d is not zero", j, i)
			}
			p[j] = byte(i)
		}
		pieces = append(pieces, append(p, 'x')) // must not reach into the next one
	}
	for i, v := range values {
		if *v != i || strings[2*i] != fmt.Sprint(i) || strings[2*i+1] != fmt.Sprintf("a%db", i) {
			t.Fatalf("%d became %d, %q and %q", i, *v, strings[2*i], strings[2*i+1])
		}
		for j, c := range pieces[i][:i%300] {
			if c != byte(i) {
				t.Fatalf("octet %d of piece %d became %d", j, i, c)
			}
		}
	}
	if got := texts.Text(nil); got != "" {
		t.Errorf("no octets are %q", got)
	}
	if p := octets.New(1 << 20); len(p) != 1<<20 {
		t.Errorf("%d octets", len(p))
	}
}
