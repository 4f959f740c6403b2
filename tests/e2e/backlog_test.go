package e2e

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

var backlog = flag.Int("backlog", 2000, "of TestBacklog: messages that wait behind the ring")

const (
	backlogPeople   = 4
	backlogHandsets = 400 // of each person
	backlogMemory   = 200 << 20
)

// Messages wait behind a full ring, at the hub while the edge is away and at the
// edge while the hub is: they cost little memory, and go on their way in order and
// no slower than half as fast as others when the other side is back.
func TestBacklog(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("it reads /proc")
	}
	t.Run("down", func(t *testing.T) { newBacklog(t).down() })
	t.Run("up", func(t *testing.T) { newBacklog(t).up() })
}

type waiting struct {
	t      *testing.T
	site   *site
	at     *siteEdge
	hub    *node
	edge   *node
	people []api
	next   []int // of each person, the number of his next message
}

func newBacklog(t *testing.T) *waiting {
	w := &waiting{t: t, site: newSite(t), next: make([]int, backlogPeople)}
	w.at = w.site.edge("manila-1", "+63917", "smpp", false)
	w.at.sessions = 8
	w.at.extras = "  receipts: false\n"
	w.site.rewrite(w.at)
	w.site.launchSMSC(w.at, "--latency", "0s", "--window", "100").ready()
	w.hub = w.site.launchHub().ready()
	w.edge = w.site.launchEdge(w.at).ready()
	isReady(w.at.api(t), 30*time.Second)
	for i := range backlogPeople {
		w.people = append(w.people, newPerson(w.site.admin(), fmt.Sprintf("person-%d", i)).api)
	}
	return w
}

// number is a handset's; each belongs to one person.
func (w *waiting) number(person, n int) string {
	return fmt.Sprintf("+63917%07d", person*backlogHandsets+n%backlogHandsets)
}

func (w *waiting) few() int { return max(*backlog/20, 1000) }

func (w *waiting) down() {
	t, smsc := w.t, w.at.smsc(w.t)
	w.pour(200)
	eventually(t, time.Minute, func() string { return atLeast("received", smsc.stats().Received, 200) })
	begin := time.Now()
	w.pour(w.few())
	total := 200 + w.few()
	w.come("received", total, func() int { return smsc.stats().Received })
	normal := float64(w.few()) / time.Since(begin).Seconds()

	w.edge.stop()
	empty := memoryOf(t, w.hub, "VmRSS:")
	begin = time.Now()
	w.pour(*backlog)
	took := time.Since(begin)
	total += *backlog
	full, peak := memoryOf(t, w.hub, "VmRSS:"), memoryOf(t, w.hub, "VmHWM:")
	t.Logf("%d accepted in %v: %.0f MB RSS, %.0f MB before", *backlog, took.Round(time.Second), full/(1<<20), empty/(1<<20))
	begin = time.Now()
	w.edge = w.site.launchEdge(w.at)
	w.come("received", total, func() int { return smsc.stats().Received })
	w.verdict("hub", normal, float64(*backlog)/time.Since(begin).Seconds(), float64(*backlog)/took.Seconds(), empty, full, peak)
	for person := range backlogPeople {
		for n := range backlogHandsets {
			w.inOrder(w.number(person, n), smsc.texts(w.number(person, n)))
		}
	}
	w.edge.stop()
	w.hub.stop()
}

func (w *waiting) up() {
	t := w.t
	delivered := func() int {
		var text string
		if _, _, err := w.site.admin().try(t.Context(), "GET", "/metrics", nil, &text); err != nil {
			return -1
		}
		return int(sumOf(t, text, "ringway_hub_handset_texts_total", `result="delivered"`))
	}
	w.write(200)
	w.come("delivered", 200, delivered)
	begin := time.Now()
	w.write(w.few())
	w.come("delivered", 200+w.few(), delivered)
	normal := float64(w.few()) / time.Since(begin).Seconds()

	w.hub.stop()
	empty := memoryOf(t, w.edge, "VmRSS:")
	begin = time.Now()
	w.write(*backlog)
	w.come("taken from the SMSC", 200+w.few()+*backlog, func() int { return w.at.smsc(t).stats().MOAcked })
	took := time.Since(begin)
	full, peak := memoryOf(t, w.edge, "VmRSS:"), memoryOf(t, w.edge, "VmHWM:")
	t.Logf("%d taken on in %v: %.0f MB RSS, %.0f MB before", *backlog, took.Round(time.Second), full/(1<<20), empty/(1<<20))
	begin = time.Now()
	w.hub = w.site.launchHub()
	w.come("delivered", *backlog, delivered) // the hub counts anew
	w.verdict("edge", normal, float64(*backlog)/time.Since(begin).Seconds(), float64(*backlog)/took.Seconds(), empty, full, peak)
	for i, p := range w.people {
		got := map[string][]string{}
		for cursor := ""; ; {
			var page struct {
				Messages []incoming
				Next     string
			}
			p.call("GET", "/v1/messages?box=inbox&limit=1000&after="+url.QueryEscape(cursor), nil, &page)
			for _, m := range page.Messages {
				got[m.From] = append(got[m.From], m.Text)
			}
			if len(page.Messages) == 0 {
				break
			}
			cursor = page.Next
		}
		for n := range backlogHandsets {
			w.inOrder(w.number(i, n), got[w.number(i, n)])
		}
	}
	w.edge.stop()
	w.hub.stop()
}

// come waits for a count, for as long as it grows.
func (w *waiting) come(what string, want int, count func() int) {
	w.t.Helper()
	last, grew := -1, time.Now()
	begin, first, said := time.Now(), count(), time.Now()
	for {
		got := count()
		if got >= want {
			return
		}
		if time.Since(said) > 30*time.Second {
			said = time.Now()
			w.t.Logf("%s: %d of %d, at %.0f/s", what, got, want, float64(got-first)/time.Since(begin).Seconds())
		}
		if got != last {
			last, grew = got, time.Now()
		}
		if time.Since(grew) > time.Minute {
			w.t.Fatalf("%s: %d of %d, and no more for a minute", what, got, want)
		}
		<-time.After(50 * time.Millisecond)
	}
}

func (w *waiting) verdict(where string, normal, drain, filling, empty, full, peak float64) {
	w.t.Helper()
	w.t.Logf("%d messages behind the ring at the %s: %.0f MB RSS empty, %.0f MB with them (%.0f MB at most); taken on at %.0f/s, drained at %.0f/s, others go at %.0f/s",
		*backlog, where, empty/(1<<20), full/(1<<20), peak/(1<<20), filling, drain, normal)
	if full-empty > backlogMemory {
		w.t.Errorf("they cost the %s %.0f MB, want %d", where, (full-empty)/(1<<20), backlogMemory>>20)
	}
	if *backlog >= 50_000 && drain < normal/2 {
		w.t.Errorf("they drain at %.0f/s, want half of %.0f/s", drain, normal)
	}
}

// inOrder: a handset's n-th text ends with the number n.
func (w *waiting) inOrder(number string, texts []string) {
	w.t.Helper()
	for i, text := range texts {
		if !strings.HasSuffix(text, fmt.Sprintf(" #%d", i)) {
			w.t.Errorf("%s got %q as number %d of %d", number, text, i, len(texts))
			return
		}
	}
}

// share of n messages for a person, as they are numbered.
func (w *waiting) share(person, n int) (first, last int) {
	first = w.next[person]
	last = first + n/backlogPeople
	w.next[person] = last
	return first, last
}

func body(n int) string {
	return fmt.Sprintf("Your parcel comes between nine and ten; please be at home. #%d", n/backlogHandsets)
}

// pour has people send n messages, with many under way, until the hub has accepted
// them all.
func (w *waiting) pour(n int) {
	w.t.Helper()
	var all sync.WaitGroup
	for i, p := range w.people {
		first, last := w.share(i, n)
		all.Go(func() {
			if err := w.pourOne(i, p, first, last); err != nil {
				w.t.Error(err)
			}
		})
	}
	all.Wait()
	if w.t.Failed() {
		w.t.FailNow()
	}
}

func (w *waiting) pourOne(person int, p api, first, last int) error {
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	conn, _, err := websocket.Dial(ctx, strings.Replace(p.base, "http", "ws", 1)+"/v1/stream?states=final", &websocket.DialOptions{
		HTTPHeader: http.Header{"Authorization": {"Bearer " + p.token}},
	})
	if err != nil {
		return err
	}
	defer conn.CloseNow()
	conn.SetReadLimit(-1)
	underWay := make(chan struct{}, 500)
	sent := make(chan error, 1)
	go func() {
		for n := first; n < last; n++ {
			frame, err := json.Marshal(outgoing{Op: "send", OpID: fmt.Sprint(n), To: w.number(person, n), Text: body(n)})
			if err == nil {
				select {
				case underWay <- struct{}{}:
					err = conn.Write(ctx, websocket.MessageText, frame)
				case <-ctx.Done():
					err = ctx.Err()
				}
			}
			if err != nil {
				sent <- err
				return
			}
		}
	}()
	for accepted := first; accepted < last; {
		_, octets, err := conn.Read(ctx)
		if err != nil {
			select {
			case err = <-sent:
			default:
			}
			return err
		}
		var frame incoming
		switch err := json.Unmarshal(octets, &frame); {
		case err != nil:
			return err
		case frame.Ev == "accepted":
			accepted++
			<-underWay
		case frame.Ev == "error":
			return fmt.Errorf("refused: %+v", frame)
		}
	}
	return nil
}

// write has handsets send n messages to people.
func (w *waiting) write(n int) {
	w.t.Helper()
	var all sync.WaitGroup
	smsc := w.at.smsc(w.t)
	for i := range w.people {
		first, last := w.share(i, n)
		for part := range 4 { // a handset's messages are all one worker's
			all.Go(func() {
				for n := first; n < last; n++ {
					if n%backlogHandsets%4 != part {
						continue
					}
					if err := smsc.send(w.number(i, n), w.at.number, fmt.Sprintf("@person-%d %s", i, body(n))); err != nil {
						w.t.Error(err)
						return
					}
				}
			})
		}
	}
	all.Wait()
	if w.t.Failed() {
		w.t.FailNow()
	}
}

// memoryOf is what /proc says of a process, in octets.
func memoryOf(t testing.TB, n *node, what string) (octets float64) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.pid()))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, what); ok {
			if _, err := fmt.Sscan(rest, &octets); err != nil {
				t.Fatal(err)
			}
		}
	}
	return octets * 1024
}
