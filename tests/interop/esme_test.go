package interop

import (
	"strconv"
	"testing"
	"time"

	"github.com/ringway-im/ringway/tests/corpus"
)

// testESME has a peer be an ESME at our simulator, with the same window in both
// directions: each text both ways unchanged, once and in order, and a receipt for each.
func testESME(t *testing.T, window int, start func(t *testing.T, port string) *peer) {
	t.Helper()
	begin := time.Now()
	texts := corpus.Texts(t, sample)
	sim, rec := startSimulator(t, "smpp", window)
	p := start(t, strconv.Itoa(rec.port()))
	p.when(20*time.Second, func() string {
		if p.bound {
			return ""
		}
		return "not bound"
	})
	var messages []message
	for i, text := range texts {
		messages = append(messages, message{ID: i, From: service, To: handset(i), Text: text})
	}
	handsetsSend(t, sim, texts)
	p.send(messages)
	p.when(limit(texts), func() string {
		if missing := atLeast("received by the peer", p.gots, len(texts)); missing != "" {
			return missing
		}
		return atLeast("delivered", len(p.delivered), len(texts))
	})
	p.end()
	took := time.Since(begin)
	same(t, "handset", handsetsGot(t, sim), dealt(texts))
	same(t, "the peer", p.got, dealt(texts))
	once(t, "accepted", p.accepted, len(texts))
	once(t, "delivered", p.delivered, len(texts))
	passTshark(t, "smpp", rec.finish(t))
	t.Logf("%d texts each way in %.1f s", len(texts), took.Seconds())
}
