package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/ringway-im/ringway/nodes/pki"
)

// While somebody misbehaves at one port, what others do goes on at 0.9 of its
// rate or more. The rate of a client is measured in short turns, undisturbed and
// disturbed in alternation, and the medians are compared.
func TestNoiseDisturbsNobody(t *testing.T) {
	turn, turns := time.Second, 3
	s := newSite(t)
	quiet := s.edge("manila-1", "+63917", "smpp", false)
	noisy := s.edge("cebu-1", "+63918", "smpp", false)
	s.launchSMSC(quiet, "--latency", "20ms").ready()
	s.launchSMSC(noisy, "--latency", "20ms").ready()
	s.launchHub().ready()
	s.launchEdge(quiet).ready()
	s.launchEdge(noisy).ready()
	isReady(quiet.api(t), 10*time.Second)
	isReady(noisy.api(t), 10*time.Second)
	admin := s.admin()
	ann, eve := newPerson(admin, "ann").online(), newPerson(admin, "eve")
	smsc := quiet.smsc(t)

	// More waits for the quiet SMSC than it takes: its pace is the rate.
	stop := make(chan struct{})
	var feeding sync.WaitGroup
	defer feeding.Wait()
	defer close(stop)
	feeding.Go(func() {
		for i := 0; ; i++ {
			for ann.waiting() > 50 {
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Millisecond):
				}
			}
			ann.send(fmt.Sprintf("+63917%07d", i%50), fmt.Sprint("text ", i))
		}
	})
	eventually(t, 10*time.Second, func() string { return atLeast("flowing", smsc.stats().Delivered, 20) })
	rate := func() float64 {
		before, at := smsc.stats().Delivered, time.Now()
		<-time.After(turn) // this is a measurement, not a wait for something
		return float64(smsc.stats().Delivered-before) / time.Since(at).Seconds()
	}

	clientTLS, err := pki.ClientTLS(s.path("pki/cebu-1.crt"), s.path("pki/cebu-1.key"), s.path("pki/ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	clientTLS.NextProtos = []string{"h2"}
	noises := map[string]func(ctx context.Context){
		"garbage on the link port":          func(ctx context.Context) { shout(ctx, s.link, nil, garbage(4096)) },
		"garbage behind the link's TLS":     func(ctx context.Context) { shout(ctx, s.link, clientTLS, garbage(4096)) },
		"oversized frames behind the TLS":   func(ctx context.Context) { shout(ctx, s.link, clientTLS, oversized()) },
		"half-open connections to the link": func(ctx context.Context) { halfOpen(ctx, s.link) },
		"half-open connections to the API":  func(ctx context.Context) { halfOpen(ctx, s.hubHTTP) },
		"garbage at the API":                func(ctx context.Context) { shout(ctx, s.hubHTTP, nil, garbage(4096)) },
		"bad requests":                      func(ctx context.Context) { badRequests(ctx, eve) },
		"bad frames on a stream":            func(ctx context.Context) { badFrames(ctx, eve) },
		"garbage to the other SMSC":         func(ctx context.Context) { shout(ctx, noisy.smscAt, nil, garbage(4096)) },
	}
	alone := noises
	noises = map[string]func(context.Context){"all at once": func(ctx context.Context) {
		var all sync.WaitGroup
		for _, noise := range alone {
			all.Go(func() { noise(ctx) })
		}
		all.Wait()
	}}
	if isLong() {
		noises = alone
	}
	for _, name := range sortedKeys(noises) {
		t.Run(name, func(t *testing.T) {
			ratio := 0.0
			for range 3 { // a busy machine gets another chance
				var without, with []float64
				for range turns {
					without = append(without, rate())
					ctx, cancel := context.WithCancel(t.Context())
					var noise sync.WaitGroup
					noise.Go(func() { noises[name](ctx) })
					with = append(with, rate())
					cancel()
					noise.Wait()
				}
				ratio = median(with) / median(without)
				t.Logf("%.0f a second undisturbed, %.0f disturbed: %.2f", median(without), median(with), ratio)
				if ratio >= 0.9 {
					return
				}
			}
			t.Errorf("at %.2f of the undisturbed rate, want 0.9", ratio)
		})
	}
	// And the neighbour whose certificate, account and SMSC were misused still works.
	eve.online()
	eve.reaches(eve.send("+639180000001", "still here"), "delivered", 20*time.Second)
}

// waiting is how many of his messages are not final.
func (p *person) waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sent - len(p.final)
}

func median(of []float64) float64 {
	slices.Sort(of)
	return of[len(of)/2]
}

// noisePause keeps a noise maker from eating the processor that the system under
// test shares with it.
const noisePause = 20 * time.Millisecond

// shout connects and writes, again and again.
func shout(ctx context.Context, to string, under *tls.Config, what []byte) {
	dialer := &net.Dialer{Timeout: time.Second}
	for pause(ctx) {
		var conn net.Conn
		var err error
		if under != nil {
			conn, err = (&tls.Dialer{NetDialer: dialer, Config: under}).DialContext(ctx, "tcp", to)
		} else {
			conn, err = dialer.DialContext(ctx, "tcp", to)
		}
		if err != nil {
			continue
		}
		_ = conn.SetDeadline(time.Now().Add(200 * time.Millisecond))
		_, _ = conn.Write(what)
		_, _ = io.CopyN(io.Discard, conn, 1024)
		_ = conn.Close()
	}
}

func pause(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(noisePause):
		return true
	}
}

func garbage(n int) []byte {
	dice := rand.New(rand.NewPCG(1, 1))
	octets := make([]byte, n)
	for i := range octets {
		octets[i] = byte(dice.Uint32())
	}
	return octets
}

// oversized begins well, as HTTP/2 does, and then announces a frame of 16 MB.
func oversized() []byte {
	preface := "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + "\x00\x00\x00\x04\x00\x00\x00\x00\x00" // empty SETTINGS (RFC 9113 §3.4, §6.5)
	return append([]byte(preface+"\xff\xff\xff\x00\x00\x00\x00\x00\x01"), garbage(64<<10)...)
}

// halfOpen holds connections that never say anything.
func halfOpen(ctx context.Context, to string) {
	var held []net.Conn
	defer func() {
		for _, c := range held {
			_ = c.Close()
		}
	}()
	for pause(ctx) {
		if conn, err := net.DialTimeout("tcp", to, time.Second); err == nil && len(held) < 500 {
			held = append(held, conn)
		} else if err == nil {
			_ = conn.Close()
		}
	}
}

func badRequests(ctx context.Context, p *person) {
	bodies := []string{"{", `{"to":1}`, `{"to":"+63917","text":"x","unknown":1}`, strings.Repeat("[", 10_000), string(garbage(2000))}
	for i := 0; pause(ctx); i++ {
		request, err := http.NewRequestWithContext(ctx, "POST", p.base+"/v1/messages", bytes.NewBufferString(bodies[i%len(bodies)]))
		if err != nil {
			p.t.Error(err)
			return
		}
		if i%2 == 0 {
			request.Header.Set("Authorization", "Bearer "+p.token)
		}
		response, err := httpClient.Do(request)
		if err != nil {
			continue
		}
		if response.StatusCode != http.StatusBadRequest && response.StatusCode != http.StatusUnauthorized {
			p.t.Errorf("%q: status %d, want 400 or 401", bodies[i%len(bodies)], response.StatusCode)
		}
		_ = response.Body.Close()
	}
}

func badFrames(ctx context.Context, p *person) {
	frames := []string{"{", `{"op":"nonsense"}`, `{"op":"send","to":7}`, `{"op":"received","id":"xyz"}`, strings.Repeat(`{"a":`, 5000)}
	for pause(ctx) {
		conn, _, err := websocket.Dial(ctx, strings.Replace(p.base, "http", "ws", 1)+"/v1/stream", &websocket.DialOptions{
			HTTPHeader: http.Header{"Authorization": {"Bearer " + p.token}},
		})
		if err != nil {
			continue
		}
		reading, cancel := context.WithCancel(ctx)
		var reader sync.WaitGroup
		reader.Go(func() {
			for {
				if _, _, err := conn.Read(reading); err != nil {
					return
				}
			}
		})
		for i := 0; i < 500 && pause(ctx); i++ {
			if conn.Write(ctx, websocket.MessageText, []byte(frames[i%len(frames)])) != nil {
				break
			}
		}
		cancel()
		_ = conn.CloseNow()
		reader.Wait()
	}
}
