package demo

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/nodes/hub"
)

// The demo's own HTTP API, for its page. It asks nobody who he is; other
// origins' pages may change nothing.
//
//	GET  /demo/config                   people with passwords, handsets, edge
//	GET  /demo/state                    line, rates (messages/s over 2 s), totals
//	GET  /demo/rings                    both sides of the rings, this moment's
//	PUT  /demo/wan    {"rtt_ms","jitter_ms"}
//	POST /demo/cut    {"cut":true}
//	POST /demo/pour   {"on":true}
//	     /demo/handsets/...             the simulator's API

// maxWAN bounds what the page may ask of the line.
const maxWAN = 10 * time.Second

func (d *Demo) handler() http.Handler {
	mux := http.NewServeMux()
	get := func(path string, answer func() (any, error)) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			body, err := answer()
			if err != nil {
				refuse(w, http.StatusServiceUnavailable, err)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_ = json.MarshalWrite(w, body) // the client has gone
		})
	}
	get("/demo/config", d.getConfig)
	get("/demo/state", d.getState)
	get("/demo/rings", d.getRings)
	mux.HandleFunc("PUT /demo/wan", put(func(b wanBody) error {
		if b.RTT == nil || b.Jitter == nil {
			return errors.New(`demo: give "rtt_ms" and "jitter_ms"`)
		}
		for name, ms := range map[string]int64{"rtt_ms": *b.RTT, "jitter_ms": *b.Jitter} {
			if ms < 0 || ms > maxWAN.Milliseconds() {
				return fmt.Errorf("demo: %s is %d: give 0 to %d", name, ms, maxWAN.Milliseconds())
			}
		}
		d.setWAN(time.Duration(*b.RTT)*time.Millisecond, time.Duration(*b.Jitter)*time.Millisecond)
		return nil
	}))
	mux.HandleFunc("POST /demo/cut", put(func(b struct {
		Cut *bool `json:"cut"`
	},
	) error {
		if b.Cut == nil {
			return errors.New(`demo: give "cut", true or false`)
		}
		d.setCut(*b.Cut)
		return nil
	}))
	mux.HandleFunc("POST /demo/pour", put(func(b struct {
		On *bool `json:"on"`
	},
	) error {
		if b.On == nil {
			return errors.New(`demo: give "on", true or false`)
		}
		d.pour.set(*b.On)
		return nil
	}))
	mux.Handle("/demo/handsets/", http.StripPrefix("/demo", d.rig.SMSC.Handler()))
	mux.HandleFunc("/demo/", func(w http.ResponseWriter, r *http.Request) {
		refuse(w, http.StatusNotFound, fmt.Errorf("demo: there is no %s %s", r.Method, r.URL.Path))
	})
	guard := http.NewCrossOriginProtection()
	guard.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, http.StatusForbidden, errors.New("demo: only the demo's own page may change something: open it at this address"))
	}))
	guarded := guard.Handler(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		guarded.ServeHTTP(w, r)
	})
}

type wanBody struct {
	RTT    *int64 `json:"rtt_ms"`
	Jitter *int64 `json:"jitter_ms"`
}

// put answers a request that changes something.
func put[T any](change func(T) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var body T
		err := json.UnmarshalRead(http.MaxBytesReader(w, r.Body, 1<<10), &body, json.RejectUnknownMembers(true))
		if err != nil {
			err = fmt.Errorf("demo: the body: %w", err)
		} else {
			err = change(body)
		}
		if err != nil {
			refuse(w, http.StatusBadRequest, err)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

// refuse answers with a problem document (RFC 9457).
func refuse(w http.ResponseWriter, status int, err error) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.MarshalWrite(w, map[string]any{"type": "about:blank", "title": http.StatusText(status), "status": status, "detail": err.Error()})
}

func (d *Demo) getConfig() (any, error) {
	return struct {
		Users    []User   `json:"users"`
		Handsets []string `json:"handsets"`
		Edge     string   `json:"edge"`
		Number   string   `json:"number"`
		Protocol string   `json:"protocol"`
	}{Users, Handsets, EdgeID, Number, d.direct.protocol.Name}, nil
}

type rates struct {
	Down   float64 `json:"down"`
	Up     float64 `json:"up"`
	Direct float64 `json:"direct"`
}

type state struct {
	Cut     bool   `json:"cut"`
	RTT     int64  `json:"rtt_ms"`
	Jitter  int64  `json:"jitter_ms"`
	Pouring bool   `json:"pouring"`
	Rates   rates  `json:"rates"`
	Totals  totals `json:"totals"`
}

// totals since the start of this process.
type totals struct {
	Accepted  uint64 `json:"accepted"`  // by the hub, for handsets
	Delivered uint64 `json:"delivered"` // texts that reached handsets through hub and edge
	Received  uint64 `json:"received"`  // texts of handsets that reached inboxes
}

func (d *Demo) rates() rates {
	return rates{tenths(d.downRate.rate()), tenths(d.upRate.rate()), tenths(d.directRate.rate())}
}

func (d *Demo) getState() (any, error) {
	accepted, err := total(d.rig.HubMetrics, "ringway_hub_messages_accepted_total", EdgeID)
	if err != nil {
		return nil, err
	}
	received, err := total(d.rig.HubMetrics, "ringway_hub_handset_texts_total", "delivered")
	if err != nil {
		return nil, err
	}
	return state{
		Cut: d.rig.WAN.IsCut(), RTT: d.rig.WAN.RTT().Milliseconds(), Jitter: d.jitter().Milliseconds(), Pouring: d.pour.on(),
		Rates: d.rates(), Totals: totals{accepted, d.arrived(), received},
	}, nil
}

type edgeView struct {
	ID       string        `json:"id"`
	Link     hub.LinkState `json:"link"`
	Epoch    uint64        `json:"epoch"`
	Hub      sideView      `json:"hub"`
	Edge     sideView      `json:"edge"`
	EdgeAsOf time.Time     `json:"edge_as_of"`
}

type sideView struct {
	Down *ringView `json:"down,omitempty"`
	Up   *ringView `json:"up,omitempty"`
}

type ringView struct {
	Slots    uint32         `json:"slots"`
	Pointers pointersView   `json:"pointers"`
	Flags    string         `json:"flags"` // a character a slot, by address: . r s c p
	Queue    uint64         `json:"queue"`
	Counts   map[string]int `json:"counts"`
}

type pointersView struct {
	LastRetrieved uint64 `json:"last_retrieved"`
	LastSent      uint64 `json:"last_sent"`
	LastConfirmed uint64 `json:"last_confirmed"`
	LastProcessed uint64 `json:"last_processed"`
}

// getRings shows the edge's side as it is now, not as it last told the hub.
func (d *Demo) getRings() (any, error) {
	down, up, err := d.rig.Edge.Rings(false)
	if err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	edges := []edgeView{}
	for _, e := range d.rig.Hub.Rings() {
		edges = append(edges, edgeView{
			ID: e.ID, Link: e.Link, Epoch: e.Epoch, EdgeAsOf: time.Now(),
			Hub: sideView{ringOf(e.Hub.Down), ringOf(e.Hub.Up)}, Edge: sideView{ringOf(down), ringOf(up)},
		})
	}
	return map[string]any{"edges": edges}, nil
}

func ringOf(s *messages.RingState) *ringView {
	if s == nil {
		return nil
	}
	line := make([]byte, len(s.GetFlags()))
	counts := map[string]int{"free": 0, "retrieved": 0, "sent": 0, "confirmed": 0, "processed": 0}
	for i, f := range s.GetFlags() {
		stage, name := byte('.'), "free"
		switch {
		case f&8 != 0:
			stage, name = 'p', "processed"
		case f&4 != 0:
			stage, name = 'c', "confirmed"
		case f&2 != 0:
			stage, name = 's', "sent"
		case f&1 != 0:
			stage, name = 'r', "retrieved"
		}
		line[i] = stage
		counts[name]++
	}
	return &ringView{
		Slots: s.GetSlots(), Flags: string(line), Queue: s.GetQueue(), Counts: counts,
		Pointers: pointersView{s.GetLastRetrieved(), s.GetLastSent(), s.GetLastConfirmed(), s.GetLastProcessed()},
	}
}

// waiting is how many messages a ring holds, and what waits behind it.
func waiting(s *messages.RingState) int {
	return int(s.GetQueue()) + int(s.GetLastRetrieved()-s.GetLastProcessed())
}
