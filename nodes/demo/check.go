package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	"golang.org/x/sync/errgroup"

	"github.com/ringway-im/ringway/nodes/hub"
)

// Result of Check, as it is printed. Counts are of messages, both ways.
type Result struct {
	Accepted   int     `json:"accepted"`   // by the hub from people, by the SMSC from handsets
	Received   int     `json:"received"`   // of those, by handsets and people
	Lost       int     `json:"lost"`       // accepted and not received
	Doubled    int     `json:"doubled"`    // came again
	Disordered int     `json:"disordered"` // came after a later one of the same sender and recipient
	CutMS      int64   `json:"cut_ms"`
	ResyncMS   int64   `json:"resync_ms"`   // from the first connection's TLS to the last missing message on disk; the slower end's
	Rate       float64 `json:"rate"`        // down, messages/s over the last 2 s before the cut
	UpRate     float64 `json:"up_rate"`     // up, the same
	DirectRate float64 `json:"direct_rate"` // one stop-and-wait session with the same SMSC over the same line, at the same time
	Protocol   string  `json:"protocol"`
	RTTMS      int64   `json:"rtt_ms"`
	TookMS     int64   `json:"took_ms"`

	Complaints []string `json:"-"` // what was lost or doubled, some of each
}

// Err is nil when all that was accepted arrived once and in order.
func (r Result) Err() error {
	if r.Lost+r.Doubled+r.Disordered == 0 {
		return nil
	}
	return fmt.Errorf("demo: %d lost, %d doubled, %d out of order", r.Lost, r.Doubled, r.Disordered)
}

const (
	checkLimit  = 18 * time.Second // of all until the verdict: closing takes time too
	checkPour   = 1500 * time.Millisecond
	checkCut    = 3 * time.Second // and until both ends have noticed
	checkCutMax = 5 * time.Second
	checkAfter  = 500 * time.Millisecond // traffic goes on after the line is restored
	checkEvery  = 20 * time.Millisecond  // the PC user and the handset write one each
	checkSettle = 300 * time.Millisecond // for what comes twice
)

// Check runs the demo without a browser: a person at a PC (HTTP and WebSocket)
// and a handset (HTTP) write to each other among poured traffic, the link is cut
// in mid-flow and restored, and every message that was accepted is looked for at
// its recipient. The error is for what kept it from a verdict.
func Check(ctx context.Context, cfg RigConfig, listener net.Listener) (r Result, err error) {
	begun := time.Now()
	ctx, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	l := newLedger()
	d, err := newDemo(ctx, cfg, bounds{500, 100}, l)
	if err != nil {
		return r, errors.Join(err, listener.Close())
	}
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	served := make(chan error, 1)
	go func() { served <- d.Serve(serving, listener) }()
	c := &checker{demo: d, ledger: l, base: "http://" + listener.Addr().String()}
	r, err = c.run(ctx)
	r.Protocol, r.RTTMS, r.TookMS = cfg.Protocol, cfg.RTT.Milliseconds(), time.Since(begun).Milliseconds()
	stop()
	return r, errors.Join(err, <-served, d.Close())
}

// checker is the person at the PC and the handset.
type checker struct {
	demo   *Demo
	ledger *ledger
	base   string // URL
	token  string
	stream *websocket.Conn
}

func (c *checker) run(ctx context.Context) (r Result, err error) {
	d := c.demo
	if err := d.rig.Await(ctx); err != nil {
		return r, err
	}
	if err := c.signIn(ctx); err != nil {
		return r, err
	}
	defer c.stream.CloseNow() //nolint:errcheck // the hub ends with it
	writing, stopWriting := context.WithCancel(ctx)
	reading, stopReading := context.WithCancel(ctx)
	defer stopReading()
	var writers, readers errgroup.Group
	readers.Go(func() error { return c.readStream(reading) })
	readers.Go(func() error { return c.readHandset(reading) })
	writers.Go(func() error { return c.write(writing, c.personWrites) })
	writers.Go(func() error { return c.write(writing, c.handsetWrites) })
	d.pour.set(true)

	err = c.cutAndRestore(ctx, &r)
	d.pour.set(false)
	stopWriting()
	if err = errors.Join(err, writers.Wait()); err == nil {
		err = c.drain(ctx)
	}
	stopReading()
	if failed := readers.Wait(); ctx.Err() == nil { // what is missing says enough otherwise
		err = errors.Join(err, failed)
	}
	c.verdict(&r)
	return r, err
}

// cutAndRestore measures the traffic, cuts the line until both ends have
// noticed, and restores it.
func (c *checker) cutAndRestore(ctx context.Context, r *Result) error {
	d := c.demo
	wait(ctx, checkPour+rateWindow)
	measured := d.rates()
	r.Rate, r.UpRate, r.DirectRate = measured.Down, measured.Up, measured.Direct
	before, err := d.ends()
	if err != nil {
		return err
	}
	cutAt := time.Now()
	d.setCut(true)
	wait(ctx, checkCut)
	noticed := poll(ctx, checkCutMax-checkCut, func() bool { return !d.linkUp() })
	d.setCut(false)
	r.CutMS = time.Since(cutAt).Milliseconds()
	if !noticed {
		return fmt.Errorf("demo: after %d ms without the line an end still takes it for up", r.CutMS)
	}
	var took time.Duration
	resynced := poll(ctx, checkLimit, func() bool {
		var now [2]resyncCount
		if now, err = d.ends(); err != nil {
			return true
		}
		took = 0
		for i := range now {
			if now[i].n == before[i].n {
				return false
			}
			took = max(took, now[i].took-before[i].took)
		}
		return true
	})
	if err == nil && !resynced {
		err = errors.New("demo: the link did not come back in time")
	}
	r.ResyncMS = took.Milliseconds()
	wait(ctx, checkAfter)
	return err
}

type resyncCount struct {
	n    uint64
	took time.Duration // all together
}

func (d *Demo) ends() (c [2]resyncCount, err error) {
	var errs [2]error
	c[0].n, c[0].took, errs[0] = resyncs(d.rig.HubMetrics)
	c[1].n, c[1].took, errs[1] = resyncs(d.rig.EdgeMetrics)
	return c, errors.Join(errs[:]...)
}

// linkUp says whether one end at least takes the link for up.
func (d *Demo) linkUp() bool {
	edge, err := d.rig.Edge.Link()
	return err != nil || edge.State == string(hub.LinkUp) || d.rig.Hub.Rings()[0].Link == hub.LinkUp
}

// drain waits until nothing is missing, as long as there is time, and then for
// what may come twice.
func (c *checker) drain(ctx context.Context) error {
	arrived := poll(ctx, checkLimit, func() bool { return c.demo.pour.underWay.Load() == 0 && c.ledger.missing() == 0 })
	if !arrived {
		c.ledger.note(fmt.Sprintf("the time was up, %v from the start, with %d under way", checkLimit, c.ledger.missing()))
		return nil
	}
	wait(ctx, checkSettle)
	return nil
}

func (c *checker) verdict(r *Result) {
	r.Complaints = c.ledger.complaints()
	l := c.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	r.Accepted, r.Received, r.Lost = l.accepted, l.arrived, l.accepted-l.arrived
	r.Doubled, r.Disordered = l.doubled, l.disorder
}

func (c *checker) signIn(ctx context.Context) error {
	answer, err := c.call(ctx, http.MethodPost, "/v1/login", map[string]string{"user": Users[0].Name, "password": Users[0].Password})
	if err != nil {
		return err
	}
	var login struct {
		Token string `json:"token"`
	}
	if err := json.Unmarshal(answer, &login); err != nil {
		return fmt.Errorf("demo: login: %w", err)
	}
	c.token = login.Token
	c.stream, _, err = websocket.Dial(ctx, c.base+"/v1/stream?states=final&device=check", &websocket.DialOptions{
		Subprotocols: []string{"ringway.v1", "ringway.token." + c.token},
	})
	if err != nil {
		return fmt.Errorf("demo: stream: %w", err)
	}
	return nil
}

// write has somebody write every checkEvery.
func (c *checker) write(ctx context.Context, one func(context.Context, uint64) error) error {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for n := firstText(); ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			// A call that was begun is finished, or nobody knows whether it was accepted.
			if err := one(context.WithoutCancel(ctx), n); err != nil {
				return err
			}
		}
	}
}

// frame of the stream, in either direction.
type frame struct {
	Op      string `json:"op,omitempty"`
	Ev      string `json:"ev,omitempty"`
	To      string `json:"to,omitempty"`
	Text    string `json:"text,omitempty"`
	Ref     string `json:"ref,omitempty"` // the text's number
	ID      string `json:"id,omitempty"`
	Message string `json:"message,omitempty"`
}

const (
	personToHandset = "person to handset"
	handsetToPerson = "handset to person"
)

// personWrites has the person send text n. Its ref is n: so the answer names it.
func (c *checker) personWrites(ctx context.Context, n uint64) error {
	text := textNumber(n)
	c.ledger.submit(personToHandset, Users[0].Name, Handsets[0], text)
	if err := wsjson.Write(ctx, c.stream, frame{Op: "send", To: Handsets[0], Text: text, Ref: strconv.FormatUint(n, 10)}); err != nil {
		return fmt.Errorf("demo: stream: %w", err)
	}
	return nil
}

func (c *checker) handsetWrites(ctx context.Context, n uint64) error {
	text := textNumber(n)
	c.ledger.submit(handsetToPerson, Handsets[0], Users[0].Name, text)
	body := map[string]string{"to": Number, "text": "@" + Users[0].Name + " " + text}
	if _, err := c.call(ctx, http.MethodPost, "/demo/handsets/"+url.PathEscape(Handsets[0])+"/messages", body); err != nil {
		return err
	}
	c.ledger.accept(handsetToPerson, text)
	return nil
}

// readStream takes what the hub tells the person.
func (c *checker) readStream(ctx context.Context) error {
	for {
		var f frame
		if err := wsjson.Read(ctx, c.stream, &f); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("demo: stream: %w", err)
		}
		switch f.Ev {
		case "accepted":
			if n, err := strconv.ParseUint(f.Ref, 10, 64); err == nil {
				c.ledger.accept(personToHandset, textNumber(n))
			}
		case "error":
			return fmt.Errorf("demo: stream: the hub refused a message: %s", f.Message)
		case "message":
			c.ledger.arrive(handsetToPerson, Users[0].Name, f.Text)
			if err := wsjson.Write(ctx, c.stream, frame{Op: "received", ID: f.ID}); err != nil && ctx.Err() == nil {
				return fmt.Errorf("demo: stream: %w", err)
			}
		}
	}
}

// readHandset asks again and again what the handset has received.
func (c *checker) readHandset(ctx context.Context) error {
	for seen := 0; ; wait(ctx, 4*checkEvery) {
		answer, err := c.call(context.WithoutCancel(ctx), http.MethodGet, fmt.Sprintf("/demo/handsets/%s/messages?after=%d", url.PathEscape(Handsets[0]), seen), nil)
		if err != nil {
			return err
		}
		var came []struct {
			Text string `json:"text"`
		}
		if err := json.Unmarshal(answer, &came); err != nil {
			return fmt.Errorf("demo: handset: %w", err)
		}
		for _, m := range came {
			c.ledger.arrive(personToHandset, Handsets[0], m.Text)
		}
		seen += len(came)
		if ctx.Err() != nil {
			return nil
		}
	}
}

// call does one HTTP request; the error says what the server said.
func (c *checker) call(ctx context.Context, method, path string, body any) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var payload io.Reader
	if body != nil {
		octets, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("demo: %w", err)
		}
		payload = bytes.NewReader(octets)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, payload)
	if err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s: %s", method, path, response.Status, answer)
	}
	if err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	return answer, nil
}

// wait returns after d, or when ctx is done.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// poll asks until it is so, within a limit.
func poll(ctx context.Context, limit time.Duration, so func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for !so() {
		if ctx.Err() != nil {
			return false
		}
		wait(ctx, 10*time.Millisecond)
	}
	return true
}

func tenths(f float64) float64 { return float64(int(f*10+.5)) / 10 }
