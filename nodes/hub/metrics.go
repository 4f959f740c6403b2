package hub

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/prometheus/client_golang/prometheus"

	hubactors "github.com/ringway-im/ringway/actors/hub"
	"github.com/ringway-im/ringway/actors/journal"
	nodemetrics "github.com/ringway-im/ringway/nodes/metrics"
)

type metrics struct {
	acceptedTotal *prometheus.CounterVec
	refusedTotal  *prometheus.CounterVec
	loginsTotal   *prometheus.CounterVec
	routedTotal   *prometheus.CounterVec
	ownedTotal    *prometheus.CounterVec
	messages      *nodemetrics.Messages
	mailboxes     *nodemetrics.Mailboxes
	online        atomic.Int64 // users with a client here

	mu   sync.Mutex
	ends []func()
}

// measures is what the store tells.
type measures struct {
	*nodemetrics.Messages
	*nodemetrics.Store
}

func newMeasures(r prometheus.Registerer, cfg Config) measures {
	var edges []string
	for _, e := range cfg.Edges {
		edges = append(edges, e.ID)
	}
	store := "hub"
	if cfg.Store.Driver == "postgres" {
		store = "postgres"
	}
	return measures{nodemetrics.NewMessages(r, edges), nodemetrics.NewStore(r, store)}
}

func newMetrics(r prometheus.Registerer, cfg Config, messages *nodemetrics.Messages) (*metrics, error) {
	counter := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "ringway", Subsystem: "hub", Name: name, Help: help}, []string{label})
	}
	m := &metrics{
		acceptedTotal: counter("messages_accepted_total", "Messages accepted durably, by where they go: an edge's id, or user.", "to"),
		refusedTotal:  counter("messages_refused_total", "Submissions refused, by code.", "code"),
		loginsTotal:   counter("logins_total", "Logins: ok, wrong or limited.", "result"),
		routedTotal:   counter("handset_texts_total", "Texts from handsets: delivered, kept (nobody was named) or asked (kept, and the handset was asked).", "result"),
		ownedTotal: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ringway_ring_owner_changes_total", Help: "Times that this hub has taken an edge's rings over, its start among them.",
		}, []string{"edge"}),
		messages: messages, mailboxes: nodemetrics.NewMailboxes(r, "hub"),
	}
	m.acceptedTotal.WithLabelValues("user")
	for _, e := range cfg.Edges {
		m.acceptedTotal.WithLabelValues(e.ID)
		m.ownedTotal.WithLabelValues(e.ID)
	}
	for _, code := range []Code{CodeBadRequest, CodeUnknownUser, CodeNoRoute, CodeTooLong, CodeRefConflict, CodeQueueFull, CodeRefused, CodeDiskFull, CodeUnavailable} {
		m.refusedTotal.WithLabelValues(string(code))
	}
	for _, result := range []string{"ok", "wrong", "limited"} {
		m.loginsTotal.WithLabelValues(result)
	}
	for _, result := range []string{"delivered", "kept", "asked"} {
		m.routedTotal.WithLabelValues(result)
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.acceptedTotal, m.refusedTotal, m.loginsTotal, m.routedTotal, m.ownedTotal} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("hub: metrics: %w", err)
		}
	}
	return m, nil
}

// look shows what the hub knows without counting: who is online, what the store
// holds, how many hubs there are.
func (m *metrics) look(h *Hub) {
	census := func() journal.Census { return journal.Census{Users: -1, Fresh: -1} }
	if store, ok := h.store.(interface{ Census() journal.Census }); ok {
		census = store.Census
	}
	presence := nodemetrics.NewSampled(h.registerer, "ringway_presence_users", "Accounts with a client at this hub, and without.", "state")
	inbox := nodemetrics.NewSampled(h.registerer, "ringway_inbox_messages", "Messages in inboxes that no client has taken, of all hubs that share the store.")
	members := nodemetrics.NewSampled(h.registerer, "ringway_cluster_members", "Hubs in the cluster, as this one sees it, itself among them.")
	m.untilEnd(
		presence.Add(func() float64 { return float64(m.online.Load()) }, "online"),
		presence.Add(func() float64 {
			c := census()
			if c.Users < 0 {
				return -1
			}
			return float64(max(0, c.Users-m.online.Load()))
		}, "offline"),
		inbox.Add(func() float64 { return float64(census().Fresh) }),
		members.Add(func() float64 {
			if h.cluster == nil {
				return 1
			}
			return float64(len(h.cluster.members()))
		}),
		nodemetrics.DeadLetters(h.registerer, h.system),
	)
}

// watch has the mailbox of an actor that the hub spawns once looked at.
func (m *metrics) watch(name string, props *actor.Props) *actor.Props {
	props, remove := m.mailboxes.Watch("", name, props)
	m.untilEnd(remove)
	return props
}

func (m *metrics) untilEnd(ends ...func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ends = append(m.ends, ends...)
}

// end: nothing of the hub is looked at any more.
func (m *metrics) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, end := range m.ends {
		end()
	}
	m.ends = nil
}

func (m *metrics) accept(s journal.Submission, a journal.Accepted) {
	if a.Again {
		return
	}
	m.messages.Accepted(s.Edge)
	if s.Edge == "" {
		m.acceptedTotal.WithLabelValues("user").Inc()
	} else {
		m.acceptedTotal.WithLabelValues(s.Edge).Inc()
	}
}

func (m *metrics) refused(err error) {
	code := CodeUnavailable
	if r := new(Refusal); errors.As(err, &r) {
		code = r.Code
	}
	m.refusedTotal.WithLabelValues(string(code)).Inc()
}

func (m *metrics) login(result string) { m.loginsTotal.WithLabelValues(result).Inc() }

func (m *metrics) routed(edge string, r hubactors.Route) {
	switch {
	case r.Ask:
		m.messages.Accepted(edge) // the question to the handset
		m.routedTotal.WithLabelValues("asked").Inc()
	case r.User == "":
		m.routedTotal.WithLabelValues("kept").Inc()
	default:
		m.routedTotal.WithLabelValues("delivered").Inc()
	}
}
