package e2e

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/ringway-im/ringway/nodes/demo"
	"github.com/ringway-im/ringway/nodes/pki"
)

// relay passes octets on; drop ends every connection at once, as a router does that
// forgets them, and new ones come through.
type relay struct {
	net.Listener
	to string

	mu   sync.Mutex
	open map[net.Conn]bool
}

func newRelay(t testing.TB, to string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{Listener: l, to: to, open: map[net.Conn]bool{}}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { r.pass(near) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		r.drop()
		running.Wait()
	})
	return r
}

func (r *relay) pass(near net.Conn) {
	defer near.Close()
	far, err := net.Dial("tcp", r.to)
	if err != nil {
		return
	}
	defer far.Close()
	r.mu.Lock()
	r.open[near] = true
	r.mu.Unlock()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
		both.Go(func() {
			_, _ = io.Copy(way[1], way[0])
			_ = way[1].Close()
		})
	}
	both.Wait()
	r.mu.Lock()
	delete(r.open, near)
	r.mu.Unlock()
}

func (r *relay) drop() (ended int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for conn := range r.open {
		_ = conn.Close()
		ended++
	}
	return ended
}

// put replaces a file as an operator does: written beside it, then renamed.
func put(t testing.TB, file string, from ...string) {
	t.Helper()
	var content []byte
	for _, f := range from {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		content = append(content, b...)
	}
	if err := errors.Join(os.WriteFile(file+".new", content, 0o600), os.Rename(file+".new", file)); err != nil {
		t.Fatal(err)
	}
}

// Hub's, edge's and CA's certificates are replaced under load, in the order of
// docs/certificates.md. A new file disturbs no link that is up; the next connection uses it. Nothing is lost or
// doubled.
func TestCertificatesRotateUnderLoad(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	e := s.edge("manila-1", demo.Prefix, "smpp", false)
	between := newRelay(t, s.link)
	hubLink := s.link
	s.link = between.Addr().String() // for the edge
	s.write("manila-1.yaml", s.edgeYAML(e))
	s.link = hubLink
	s.launchSMSC(e).ready()
	s.launchHub().ready()
	s.launchEdge(e).ready()
	isReady(e.api(t), 15*time.Second)
	f := newFlow(s.admin(), e.smsc(t), e.number, 4, 20)
	f.meet()

	next := s.path("next")
	s.pki("init", next)
	s.pki("hub", next, "hub-1")
	s.pki("edge", next, "manila-1")
	at := func(dir, name string) string { return filepath.Join(dir, name) }
	now := s.path("pki")
	old := s.path("old")
	if err := os.CopyFS(old, os.DirFS(now)); err != nil {
		t.Fatal(err)
	}
	link := func() (up, interruptions float64) {
		a := e.api(t)
		return a.metric("ringway_link_up", ""), a.metric("ringway_link_reconnects_total", "")
	}
	steps := []struct {
		name string
		do   func()
	}{
		{"both CAs are trusted", func() { put(t, at(now, "ca.crt"), at(old, "ca.crt"), at(next, "ca.crt")) }},
		{"the hub's is of the new CA", func() {
			put(t, at(now, "hub-1.key"), at(next, "hub-1.key"))
			put(t, at(now, "hub-1.crt"), at(next, "hub-1.crt"))
		}},
		{"the edge's is of the new CA", func() {
			put(t, at(now, "manila-1.key"), at(next, "manila-1.key"))
			put(t, at(now, "manila-1.crt"), at(next, "manila-1.crt"))
		}},
		{"the old CA is not trusted any more", func() { put(t, at(now, "ca.crt"), at(next, "ca.crt")) }},
	}
	for _, step := range steps {
		f.load(300*time.Millisecond, 100)
		_, before := link()
		step.do()
		f.load(300*time.Millisecond, 100)
		if up, n := link(); up != 1 || n != before {
			t.Errorf("%s: the link is up %v, interrupted %v times by it", step.name, up, n-before)
		}
		if n := between.drop(); n != 8 {
			t.Errorf("%s: %d stripes were there to drop, want 8", step.name, n)
		}
		f.load(300*time.Millisecond, 100)
		eventually(t, 20*time.Second, func() string {
			if up, n := link(); up != 1 || n != before+1 {
				return fmt.Sprintf("%s: the link is up %v after %v interruptions", step.name, up, n-before)
			}
			return ""
		})
	}
	each, err := pki.EachClientTLS(at(now, "manila-1.crt"), at(now, "manila-1.key"), at(now, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := (&tls.Dialer{Config: each()}).DialContext(t.Context(), "tcp", hubLink)
	if err != nil {
		t.Fatalf("the hub's certificate is not of the new CA: %v", err)
	}
	conn.Close()
	if refused := refusal(t, hubLink, at(old, "manila-1.crt"), at(old, "manila-1.key"), at(now, "ca.crt")); refused == nil {
		t.Error("a certificate of the old CA still comes in")
	}
	f.settle(30 * time.Second)
	f.check()
	t.Logf("%d texts down, %d up over %d rotations", f.downs, f.ups, len(steps))
}

// refusal dials and reads: with TLS 1.3 the dialler hears of a refusal then.
func refusal(t testing.TB, to, cert, key, ca string) error {
	t.Helper()
	cfg, err := pki.ClientTLS(cert, key, ca)
	if err != nil {
		t.Fatal(err)
	}
	cfg.NextProtos = []string{"h2"}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	conn, err := (&tls.Dialer{Config: cfg}).DialContext(ctx, "tcp", to)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	_, err = conn.Read(make([]byte, 9)) // the server's SETTINGS
	return err
}

// An edge that is taken out of the hub's configuration is refused from the restart on,
// by hub and edge plainly said; its messages stay, and go out when it is let in again.
func TestEdgeIsTakenOutOfTheConfiguration(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	gone, stays := s.edge("manila-1", "+63917", "smpp", false), s.edge("cebu-1", "+63918", "smpp", false)
	for _, e := range s.edges {
		s.launchSMSC(e).ready()
	}
	hub := s.launchHub().ready()
	edge := s.launchEdge(gone).ready()
	s.launchEdge(stays).ready()
	isReady(gone.api(t), 15*time.Second)
	isReady(stays.api(t), 15*time.Second)
	ann := newPerson(s.admin(), "ann").online()
	ann.reaches(ann.send("+639170000001", "before"), "delivered", 10*time.Second)

	// Two wait for the edge.
	edge.stop()
	waiting := []string{ann.send("+639170000001", "waits 1"), ann.send("+639170000001", "waits 2")}
	for _, ref := range waiting {
		ann.id(ref) // it is accepted
	}
	hub.stop()
	all := s.edges
	s.edges = []*siteEdge{stays}
	hub = s.launchHub().ready()
	edge = s.launchEdge(gone).ready()
	edge.says(15*time.Second, "manila-1", "not configured")
	hub.says(15*time.Second, "link refused", "manila-1", "add it to edges")
	isReady(stays.api(t), 15*time.Second)
	ann.reaches(ann.send("+639180000001", "the other one"), "delivered", 10*time.Second)
	if n := len(gone.smsc(t).received("+639170000001")); n != 1 {
		t.Errorf("%d came by an edge that is refused", n-1)
	}
	for _, ref := range waiting {
		if got := ann.record(ref).State; got != "accepted" && got != "retrieved" && got != "sent" {
			t.Errorf("%s is %q while its edge is out", ref, got)
		}
	}

	hub.stop()
	s.edges = all
	s.launchHub().ready()
	for _, ref := range waiting {
		ann.reaches(ref, "delivered", 60*time.Second)
	}
	sameSequence(t, "the handset", gone.smsc(t).texts("+639170000001"), []string{"before", "waits 1", "waits 2"})
}
