package conn

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringway-im/ringway/smsc"
)

// line is a packet of the tests: it ends with a newline; "bad" is none, "worse" is fatal.
func line(r *bufio.Reader) (any, error) {
	s, err := r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	switch s = strings.TrimSpace(s); s {
	case "bad", "worse":
		return nil, &smsc.SyntaxError{Protocol: "line", Offset: -1, Reason: s, Fatal: s == "worse"}
	}
	return s, nil
}

// open returns a connection, its peer's end and what it posts.
func open(t *testing.T, cfg Config) (*Conn, net.Conn, chan any) {
	t.Helper()
	here, there := net.Pipe()
	posted := make(chan any, 100)
	cfg.Dial = func(context.Context) (net.Conn, error) { return here, nil }
	cfg.Read, cfg.Post = line, func(m any) { posted <- m }
	c := Open(cfg)
	if m, ok := (<-posted).(Opened); !ok || m.Conn != c {
		t.Fatalf("first came %#v", m)
	}
	t.Cleanup(func() { c.Close(); _ = there.Close() })
	return c, there, posted
}

func TestPacketsThenClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peer, posted := open(t, Config{})
		go func() { _, _ = io.WriteString(peer, "one\nbad\ntwo\n"); _ = peer.Close() }()
		if m := (<-posted).(Packet); m.Packet != "one" || m.Conn != c {
			t.Errorf("%#v", m)
		}
		if m := (<-posted).(Garbled); m.Err == nil {
			t.Errorf("%#v", m)
		}
		if m := (<-posted).(Packet); m.Packet != "two" {
			t.Errorf("%#v", m)
		}
		if m := (<-posted).(Closed); !errors.Is(m.Err, io.EOF) {
			t.Errorf("%v", m.Err)
		}
	})
}

func TestCloseWritesWhatIsQueued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peer, posted := open(t, Config{})
		c.Write([]byte("one "))
		c.Write([]byte("two"))
		c.Close()
		got, err := io.ReadAll(peer)
		if string(got) != "one two" || err != nil {
			t.Errorf("the peer read %q, %v", got, err)
		}
		if m := (<-posted).(Closed); !errors.Is(m.Err, ErrClosed) {
			t.Errorf("%v", m.Err)
		}
	})
}

func TestReadingWaitsForTheActor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peer, posted := open(t, Config{Window: 2})
		go func() { _, _ = io.WriteString(peer, "1\n2\n3\n") }()
		synctest.Wait()
		if len(posted) != 2 {
			t.Fatalf("%d packets posted, want 2", len(posted))
		}
		c.Taken()
		synctest.Wait()
		if len(posted) != 3 {
			t.Fatalf("%d packets posted, want 3", len(posted))
		}
	})
}

func TestPeerThatDoesNotRead(t *testing.T) {
	for name, write := range map[string]func(c *Conn){
		"too long": func(c *Conn) { c.Write([]byte("x")); c.Flush() },
		"too much": func(c *Conn) { c.Write(make([]byte, 50)); c.Flush(); c.Write(make([]byte, 101)) },
	} {
		synctest.Test(t, func(t *testing.T) {
			c, _, posted := open(t, Config{WriteTimeout: 30 * time.Second, WriteLimit: 100})
			write(c)
			select {
			case m := <-posted:
				if m, ok := m.(Closed); !ok || m.Err == nil || errors.Is(m.Err, ErrClosed) {
					t.Errorf("%s: %#v", name, m)
				}
			case <-time.After(time.Minute):
				t.Errorf("%s: still open", name)
			}
		})
	}
}

func TestDialThatHangsEnds(t *testing.T) {
	hang := func(ctx context.Context) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
	for _, byClose := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			posted := make(chan any, 1)
			began := time.Now()
			c := Open(Config{Dial: hang, DialTimeout: 5 * time.Second, Read: line, Post: func(m any) { posted <- m }})
			if byClose {
				c.Close()
			}
			if m := (<-posted).(Closed); m.Err == nil || byClose != errors.Is(m.Err, ErrClosed) {
				t.Errorf("%v", m.Err)
			}
			if took := time.Since(began); byClose != (took == 0) || took > 5*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

func TestFatalSyntaxErrorWaitsForClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peer, posted := open(t, Config{})
		go func() { _, _ = io.WriteString(peer, "worse\n") }()
		if _, ok := (<-posted).(Garbled); !ok {
			t.Fatal("no Garbled")
		}
		c.Write([]byte("sorry"))
		c.Close()
		if got, _ := io.ReadAll(peer); string(got) != "sorry" {
			t.Errorf("the peer read %q", got)
		}
	})
}

// What a socket does not take at once follows in order.
func TestFlushKeepsOrder(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	posted := make(chan any, 10)
	c := Open(Config{Dial: Dialer(l.Addr().String()), Read: line, Post: func(m any) { posted <- m }, WriteLimit: 64 << 20})
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	<-posted
	var want []byte
	for i := range 100 { // more than what the kernel's buffers hold
		chunk := bytes.Repeat([]byte{byte(i)}, 100_000)
		want = append(want, chunk...)
		c.Write(chunk)
		c.Flush()
	}
	got := make([]byte, len(want))
	for n := 0; n < len(got); n++ {
		k, err := peer.Read(got[n:min(n+200_000, len(got))])
		if n += k - 1; err != nil {
			t.Fatal(err)
		}
		c.Write([]byte("!")) // while the writer is at it
		c.Flush()
		want = append(want, '!')
	}
	c.Close()
	rest, err := io.ReadAll(peer)
	if got = append(got, rest...); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the peer read %d octets, want %d in order (%v)", len(got), len(want), err)
	}
}
