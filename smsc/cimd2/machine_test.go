package cimd2

import (
	"bufio"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/text"
	"pgregory.net/rapid"
)

// packet reads "03:001·033:Hello": TAB as ·, without frame and checksum.
func packet(t testing.TB, line string) *Packet {
	t.Helper()
	p, err := Decode([]byte("\x02" + strings.ReplaceAll(line, "·", "\t") + "\t\x03"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func in(t testing.TB, line string) smsc.Received { return smsc.Received{Packet: packet(t, line)} }

func show(e smsc.Effect) string {
	switch e := e.(type) {
	case smsc.Write:
		p, err := Read(bufio.NewReader(strings.NewReader(string(e.Octets))))
		if err != nil {
			return "> " + string(e.Octets)
		}
		var b strings.Builder
		fmt.Fprintf(&b, "> %02d:%03d", uint8(p.(*Packet).Operation), p.(*Packet).Number)
		for _, q := range p.(*Packet).Params {
			fmt.Fprintf(&b, "·%v:%s", q.Code, q.Value)
		}
		return b.String()
	case smsc.SetTimer:
		return fmt.Sprintf("set %s %v", e.Timer.Name, e.After)
	case smsc.StopTimer:
		return "stop " + e.Name
	case smsc.Bound:
		return "bound"
	case smsc.Answered:
		return strings.TrimSpace(fmt.Sprintf("answered %d %v %s%s", e.Ref, e.Outcome.Fate, e.Outcome.ID, e.Outcome.Code))
	case smsc.Delivered:
		return fmt.Sprintf("delivered %d %v > %v %s", e.Ref, e.Deliver.From, e.Deliver.To, text.Decode(e.Deliver.Coding, e.Deliver.Data))
	case smsc.Reported:
		return fmt.Sprintf("reported %d %s %v", e.Ref, e.Receipt.ID, e.Receipt.State)
	case smsc.Close:
		return fmt.Sprintf("close %d %v", e.Retry, e.Err)
	case smsc.LoginReceived:
		return fmt.Sprintf("login %s %s", e.User, e.Password)
	case smsc.SubmitReceived:
		return fmt.Sprintf("submit %d %v > %v %s", e.Ref, e.Part.From, e.Part.To, text.Decode(e.Part.Coding, e.Part.Data))
	case smsc.DeliverAnswered:
		return fmt.Sprintf("deliver %d ok=%v temporary=%v", e.Ref, e.OK, e.Temporary)
	case smsc.DeliveryRequested:
		return fmt.Sprintf("requested %d", e.Ref)
	case smsc.Responded:
		if e.Err != nil {
			return fmt.Sprintf("responded %d %v", e.Ref, e.Err)
		}
		return fmt.Sprintf("responded %d %v", e.Ref, e.Packet)
	case smsc.TimeTold:
		if e.At.IsZero() {
			return "told nothing"
		}
		return "told " + Timestamp(e.At)
	case smsc.QueryReceived:
		return fmt.Sprintf("query %d %s", e.Ref, e.ID)
	case smsc.CancelReceived:
		return fmt.Sprintf("cancel %d %q %v", e.Ref, e.ID, e.To)
	case smsc.PasswordReceived:
		return fmt.Sprintf("password %d %s", e.Ref, e.Password)
	case smsc.TimeRequested:
		return fmt.Sprintf("time %d", e.Ref)
	}
	return fmt.Sprintf("%T", e)
}

type handler interface {
	Handle(smsc.Event, []smsc.Effect) []smsc.Effect
	State() string
}

// story is a session in the order it happens.
type story struct {
	t      *testing.T
	m      handler
	timers map[string]smsc.Timer // the latest of each name, also stopped ones
}

func (s *story) step(ev smsc.Event, want ...string) {
	s.t.Helper()
	var got []string
	for _, e := range s.m.Handle(ev, nil) {
		if set, ok := e.(smsc.SetTimer); ok {
			s.timers[set.Timer.Name] = set.Timer
		}
		got = append(got, show(e))
	}
	if !slices.Equal(got, want) {
		s.t.Errorf("%T %v in %s:\n got  %s\n want %s", ev, ev, s.m.State(), strings.Join(got, "\n      "), strings.Join(want, "\n      "))
	}
}

func (s *story) in(line string, want ...string) {
	s.t.Helper()
	s.step(in(s.t, line), want...)
}

func (s *story) due(name string, want ...string) {
	s.t.Helper()
	timer, ok := s.timers[name]
	if !ok {
		s.t.Fatalf("no timer %q was ever set", name)
	}
	s.step(smsc.Due{Timer: timer}, want...)
}

var testConfig = smsc.Config{
	User: "user1", Password: "pass1", Window: 1, KeepAlive: 40 * time.Second, ResponseTimeout: 10 * time.Second,
	LoginTimeout: 5 * time.Second, LogoutTimeout: 3 * time.Second, PollEvery: 7 * time.Second,
}

func client(t *testing.T, cfg smsc.Config) *story {
	return &story{t, New(cfg), map[string]smsc.Timer{}}
}

func boundClient(t *testing.T) *story {
	s := client(t, testConfig)
	s.step(smsc.Connected{}, "> 01:001·010:user1·011:pass1", "set login 5s")
	s.in("51:001", "stop login", "bound", "set idle 20s")
	return s
}

func (s *story) ready(want int) {
	s.t.Helper()
	if got := s.m.(smsc.Machine).Ready(); got != want {
		s.t.Errorf("ready for %d in %s, want %d", got, s.m.State(), want)
	}
}

func sub(ref uint64, text string) smsc.Submit { return smsc.Submit{Ref: ref, Part: hello(text)} }

const submitted1 = "·021:+358407654321·023:12345·056:0·033:"

func TestStopAndWait(t *testing.T) {
	s := boundClient(t)
	s.ready(1)
	s.step(sub(7, "Hello"), "> 03:003"+submitted1+"Hello", "set response 003 10s")
	s.ready(0)
	s.step(sub(8, "too much"), "answered 8 bad_session")
	s.in("53:003·021:+358407654321·060:261122201500", "stop response 003", "answered 7 accepted 358407654321/261122201500")
	s.ready(1)
	s.step(sub(9, "Hello"), "> 03:005"+submitted1+"Hello", "set response 005 10s")
	s.in("53:003·021:+358407654321·060:261122201500")                                                                         // answered already
	s.in("53:007·021:+358407654321·060:261122201500")                                                                         // nobody asked
	s.in("90:005")                                                                                                            // no response to a submit
	s.in("53:005·060:261122201501", "stop response 005", "answered 9 accepted 358407654321/261122201501")                     // 021 left out
	s.step(smsc.Submit{Ref: 10, Part: smsc.Part{To: smsc.ParseAddress("bob"), Class: -1}}, "answered 10 permanent CIMD2 300") // not sent
	s.ready(1)
}

func TestErrorsOfSubmit(t *testing.T) {
	for code, want := range map[string][]string{
		"53:003·900:300·901:scripted": {"stop response 003", "answered 1 permanent CIMD2 300"},
		"53:003·900:010":              {"stop response 003", "answered 1 throttled CIMD2 10"},
		"53:003·900:9":                {"stop response 003", "answered 1 temporary CIMD2 9"},
		"53:003·900:5":                {"stop response 003", "answered 1 unknown CIMD2 5"},
		"53:003·900:7777":             {"stop response 003", "answered 1 permanent CIMD2 7777"},
		"53:003·900:700":              {"stop response 003", "answered 1 accepted"},
		"53:003·900:0·060:1":          {"stop response 003", "answered 1 accepted 358407654321/1"},
		"98:003·900:6":                {"stop response 003", "answered 1 temporary CIMD2 6"},
		"98:000":                      {"stop response 003", "answered 1 temporary CIMD2 9"}, // a number of its own
		"53:003·900:1": {
			"stop response 003", "answered 1 bad_session CIMD2 1",
			"close 0 cimd2: a submit was answered with error 1: unexpected operation",
		},
		"53:003·900:103": {
			"stop response 003", "answered 1 bad_session CIMD2 103",
			"close 1 cimd2: a submit was answered with error 103: login refused by SMSC",
		},
	} {
		s := boundClient(t)
		s.step(sub(1, "x"), "> 03:003"+submitted1+"x", "set response 003 10s")
		s.in(code, want...)
	}
}

func TestNumbersWrap(t *testing.T) {
	s := boundClient(t)
	for n := 3; n <= 255; n += 2 {
		s.step(sub(1, "x"), fmt.Sprintf("> 03:%03d%sx", n, submitted1), fmt.Sprintf("set response %03d 10s", n))
		s.in(fmt.Sprintf("53:%03d·060:1", n), fmt.Sprintf("stop response %03d", n), "answered 1 accepted 358407654321/1")
	}
	s.step(sub(1, "x"), "> 03:001"+submitted1+"x", "set response 001 10s")
}

func TestWindow(t *testing.T) {
	cfg := testConfig
	cfg.Window = 3
	s := client(t, cfg)
	s.step(smsc.Connected{}, "> 01:001·010:user1·011:pass1·019:3", "set login 5s")
	s.in("51:001", "stop login", "bound", "set idle 20s")
	s.ready(3)
	for i, n := range []string{"003", "005", "007"} {
		s.step(sub(uint64(i), "x"), "> 03:"+n+submitted1+"x", "set response "+n+" 10s")
	}
	s.ready(0)
	s.in("53:005·060:1", "stop response 005", "answered 1 accepted 358407654321/1")
	s.ready(1)
	// 005 has its answer; 003 was lost on the way: it and what is behind go again.
	s.in("99:003", "> 03:003"+submitted1+"x", "set response 003 10s", "> 03:007"+submitted1+"x", "set response 007 10s")
	s.in("99:007", "> 03:007"+submitted1+"x", "set response 007 10s") // 003 arrived: only what is behind
	s.due("response 003",
		"answered 0 unknown", "answered 2 unknown", "close 0 cimd2: no response 003 within 10s")
	s.ready(0)
}

// A number is not used again while its request is unanswered.
func TestNumberInUse(t *testing.T) {
	cfg := testConfig
	cfg.Window, cfg.ResponseTimeout = 3, 0
	s := client(t, cfg)
	s.step(smsc.Connected{}, "> 01:001·010:user1·011:pass1·019:3", "set login 5s")
	s.in("51:001", "stop login", "bound", "set idle 20s")
	s.step(sub(1, "x"), "> 03:003"+submitted1+"x") // stays open
	for i := range 127 {
		s.ready(min(2, 127-i))
		n := (5 + 2*i) % 256
		s.step(sub(2, "x"), fmt.Sprintf("> 03:%03d%sx", n, submitted1))
		s.in(fmt.Sprintf("53:%03d·060:1", n), "answered 2 accepted 358407654321/1")
	}
	s.ready(0)
	s.in("53:003·060:1", "answered 1 accepted 358407654321/1")
	s.ready(3)
	s.step(sub(2, "x"), "> 03:003"+submitted1+"x")
}

// Throttled submits halve the window, accepted ones let it grow again.
func TestWindowShrinks(t *testing.T) {
	cfg := testConfig
	cfg.Window, cfg.ResponseTimeout = 4, 0
	s := client(t, cfg)
	s.step(smsc.Connected{}, "> 01:001·010:user1·011:pass1·019:4", "set login 5s")
	s.in("51:001", "stop login", "bound", "set idle 20s")
	number := 1
	submit := func() {
		number += 2
		s.step(sub(uint64(number), "x"), fmt.Sprintf("> 03:%03d%sx", number, submitted1))
	}
	for range 4 {
		submit()
	}
	for n := 3; n <= 9; n += 2 {
		s.in(fmt.Sprintf("53:%03d·900:10", n), fmt.Sprintf("answered %d throttled CIMD2 10", n))
	}
	s.ready(2)
	for range 16 {
		s.ready(2)
		submit()
		s.ready(1)
		s.in(fmt.Sprintf("53:%03d·060:1", number), fmt.Sprintf("answered %d accepted 358407654321/1", number))
	}
	s.ready(3)
}

func TestWindowRefused(t *testing.T) {
	cfg := testConfig
	cfg.Window = 3
	s := client(t, cfg)
	s.step(smsc.Connected{}, "> 01:001·010:user1·011:pass1·019:3", "set login 5s")
	s.in("51:001·900:105", "stop login", "> 01:003·010:user1·011:pass1", "set login 5s")
	s.in("51:003", "stop login", "bound", "set idle 20s")
	s.ready(1)
}

func TestLoginRefused(t *testing.T) {
	s := client(t, testConfig)
	s.step(smsc.Connected{}, "> 01:001·010:user1·011:pass1", "set login 5s")
	s.ready(0)
	s.in("51:001·900:100·901:Invalid login", "stop login",
		`close 1 cimd2: login of "user1" refused with error 100, invalid login: Invalid login`)
	s.step(smsc.Connected{}) // a session is over for good
	if s.m.State() != "closed" {
		t.Error(s.m.State())
	}
}

func TestSubaddress(t *testing.T) {
	cfg := testConfig
	cfg.Subaddress = "3"
	client(t, cfg).step(smsc.Connected{}, "> 01:001·010:user1·011:pass1·012:3", "set login 5s")
}

func TestCheckConfig(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*smsc.Config)
		ok     bool
	}{
		"as it is":     {func(*smsc.Config) {}, true},
		"a window":     {func(c *smsc.Config) { c.Window = 128 }, true},
		"no user":      {func(c *smsc.Config) { c.User = "" }, false},
		"long":         {func(c *smsc.Config) { c.Password = strings.Repeat("x", 33) }, false},
		"a TAB":        {func(c *smsc.Config) { c.Password = "a\tb" }, false},
		"wide":         {func(c *smsc.Config) { c.Window = 129 }, false},
		"a subaddress": {func(c *smsc.Config) { c.Subaddress = "10" }, false},
	} {
		cfg := testConfig
		c.change(&cfg)
		if err := Protocol.Check(cfg); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What else an ESME may ask, in the protocol's own type.
func TestRequest(t *testing.T) {
	s := boundClient(t)
	enquiry := packet(t, "04:000·021:+358407654321·060:261122201500")
	s.step(smsc.Request{Ref: 1, Packet: enquiry}, "> 04:003·021:+358407654321·060:261122201500", "set response 003 10s")
	s.ready(0)
	s.step(smsc.Request{Ref: 2, Packet: enquiry}, "responded 2 cimd2: session is bound or its window full: nothing was sent")
	s.in("54:003·021:+358407654321·060:261122201500·061:4", "stop response 003",
		`responded 1 enquire_status_resp:003 021:"+358407654321" 060:"261122201500" 061:"4"`)
	s.step(smsc.Request{Ref: 3, Packet: packet(t, "06:000·059:1")}, "> 06:005·059:1", "set response 005 10s")
	s.in("99:005", "> 06:005·059:1", "set response 005 10s")
	s.in("56:005·900:602", "stop response 005", `responded 3 cancel_resp:005 900:"602"`)
	s.step(smsc.Request{Ref: 4, Packet: packet(t, "09:000·500:501")}, "> 09:007·500:501", "set response 007 10s")
	s.in("98:007·900:1", "stop response 007", `responded 4 general_error:007 900:"1"`)
	s.step(smsc.Request{Ref: 5, Packet: packet(t, "08:000·011:x")}, "> 08:009·011:x", "set response 009 10s")
	s.step(smsc.Disconnected{}, "responded 5 cimd2: the session ended before the response")
	s.step(smsc.Request{Ref: 6, Packet: enquiry}, "responded 6 cimd2: session is closed or its window full: nothing was sent")

	s = boundClient(t)
	for line, why := range map[string]string{
		"01:000": "login is not for an ESME to ask", "02:000": "logout is not for an ESME to ask", "20:000": "deliver is not for an ESME to ask",
		"53:000": "submit_resp is not for an ESME to ask", "99:000": "nack is not for an ESME to ask",
	} {
		s.step(smsc.Request{Ref: 1, Packet: packet(t, line)}, "responded 1 cimd2: "+why)
	}
	s.step(smsc.Request{Ref: 1, Packet: "x"}, "responded 1 cimd2: string is no *cimd2.Packet")
	s.step(smsc.Request{Ref: 1, Packet: &Packet{Operation: Set, Params: []Param{{Password, "\t"}}}},
		"responded 1 cimd2: parameter 011 holds octet 09, which no value may")
	for line, why := range map[string]string{ // it would be refused, or worse
		"04:000·021:1":       "parameter 060, service centre timestamp, is missing (error 401)",
		"06:000·059:3":       `parameter 059, cancel mode, is "3" (error 602)`,
		"09:000·500:12":      `parameter 500, get parameter, is "12" (error 900)`,
		"03:000·033:x":       "parameter 021, destination address, is missing (error 300)",
		"07:000":             "operation 07 is not known (error 1)",
		"08:000·011:a·011:b": "parameter 011, password, stands there twice (error 2)",
	} {
		s.step(smsc.Request{Ref: 1, Packet: packet(t, line)}, "responded 1 cimd2: "+why)
	}
	s.ready(1)
}

// Each deviation of an SMSC that concerns this protocol.
func TestQuirks(t *testing.T) {
	bound := func(quirks smsc.Quirks) *story {
		cfg := testConfig
		cfg.Quirks = quirks
		s := client(t, cfg)
		s.step(smsc.Connected{}, "> 01:001·010:user1·011:pass1", "set login 5s")
		s.in("51:001", "stop login", "bound", "set idle 20s")
		return s
	}
	s := bound(smsc.Quirks{Numbers: smsc.NumbersPlain})
	s.step(sub(1, "x"), "> 03:003·021:358407654321·023:12345·056:0·033:x", "set response 003 10s")
	s = bound(smsc.Quirks{Numbers: smsc.NumbersPlus})
	s.step(sub(1, "x"), "> 03:003"+submitted1+"x", "set response 003 10s")

	s = bound(smsc.Quirks{Alphabet: smsc.AlphabetLatin1})
	s.step(sub(1, "\x00\x7b"), "> 03:003"+submitted1+"@\xe4", "set response 003 10s")
	s.in("20:000·021:1·023:2·060:3·033:[x]", "delivered 1 2 > 1 [x]")
	s = bound(smsc.Quirks{})
	s.step(sub(1, "\x00\x7b"), "> 03:003"+submitted1+`_Oa_a"`, "set response 003 10s")
	s.in("20:000·021:1·023:2·060:3·033:[x]", "delivered 1 2 > 1 ÄxÅ")

	// A septet 00 in the last seven bits.
	const packed = "20:000·021:1·023:2·060:3·034:31D98C56B3DD00"
	s.in("20:002"+strings.TrimPrefix(packed, "20:000"), "delivered 2 2 > 1 1234567")
	s = bound(smsc.Quirks{TrailingAt: true})
	s.in(packed, "delivered 1 2 > 1 1234567@")
	s.in("20:002·021:1·023:2·060:3·034:E8329BFD4697D9EC37", "delivered 2 2 > 1 hellohello")

	s = bound(smsc.Quirks{NegativeDelivers: true})
	const deliver = "20:000·021:1·023:2·060:3·033:x"
	s.in(deliver, "delivered 1 2 > 1 x")
	s.step(smsc.Refuse{Ref: 1}, "> 70:000·900:710")
	s.in(deliver, "> 70:000·900:710") // the answer was lost: the same again
	s.in("20:002"+strings.TrimPrefix(deliver, "20:000"), "delivered 2 2 > 1 x")
	s.step(smsc.Accept{Ref: 2}, "> 70:002")
	s.in("23:004·021:1·060:3·061:4·063:3", "reported 3 1/3 delivered")
	s.step(smsc.Refuse{Ref: 3}) // there is no negative answer to a report
	s.in("23:004·021:1·060:3·061:4·063:3", "reported 4 1/3 delivered")

	s = bound(smsc.Quirks{NoLogoutAnswer: true})
	s.step(smsc.Logout{}, "> 02:003", "close 2 <nil>")

	s = bound(smsc.Quirks{Fates: map[uint32]smsc.Fate{9: smsc.Throttled, 300: smsc.BadSession, 4711: smsc.Temporary, 7: smsc.Accepted}})
	for n, c := range []struct {
		code string
		want []string
	}{
		{"9", []string{"throttled CIMD2 9"}},
		{"4711", []string{"temporary CIMD2 4711"}},
		{"8", []string{"permanent CIMD2 8"}},
		{"7·060:1", []string{"accepted 358407654321/1"}},
		{"300", []string{"bad_session CIMD2 300", "close 0 cimd2: a submit was answered with error 300: incorrect destination address"}},
	} {
		number := fmt.Sprintf("%03d", 3+2*n)
		s.step(sub(1, "x"), "> 03:"+number+submitted1+"x", "set response "+number+" 10s")
		want := []string{"stop response " + number, "answered 1 " + c.want[0]}
		s.in("53:"+number+"·900:"+c.code, append(want, c.want[1:]...)...)
	}

	for _, bare := range []bool{false, true} {
		cfg := testConfig
		cfg.Quirks.NoChecksum = bare
		m := New(cfg)
		write := m.Handle(smsc.Connected{}, nil)[0].(smsc.Write)
		if p, err := Decode(write.Octets); err != nil || p.Bare != bare {
			t.Errorf("%v %v, want without a checksum: %v", p, err, bare)
		}
		m.Handle(in(t, "51:001"), nil)
		m.Handle(sub(1, "x"), nil)
		write = m.Handle(in(t, "99:007"), nil)[1].(smsc.Write) // with another number
		if p, err := Decode(write.Octets); err != nil || p.Bare != bare || p.Number != 7 {
			t.Errorf("%v %v, want without a checksum: %v", p, err, bare)
		}
	}
}

// Packets without a checksum are damaged ones for whoever requires it.
func TestRequireChecksum(t *testing.T) {
	cfg := testConfig
	cfg.Quirks.RequireChecksum = true
	summed := func(line string) smsc.Received {
		p := packet(t, line)
		p.Bare = false
		return smsc.Received{Packet: p}
	}
	s := client(t, cfg)
	s.step(smsc.Connected{}, "> 01:001·010:user1·011:pass1", "set login 5s")
	s.in("51:001", "close 1 cimd2: a packet without the checksum that is required")

	s = client(t, cfg)
	s.step(smsc.Connected{}, "> 01:001·010:user1·011:pass1", "set login 5s")
	s.step(summed("51:001"), "stop login", "bound", "set idle 20s")
	s.in("20:000·021:1·023:2·060:3·033:x", "> 99:000")
	s.step(summed("20:000·021:1·023:2·060:3·033:x"), "delivered 1 2 > 1 x")
	s.step(sub(1, "x"), "> 03:003"+submitted1+"x", "set response 003 10s")
	s.in("53:003·060:1") // as a damaged one: left to the timeout
	s.step(summed("53:003·060:1"), "stop response 003", "answered 1 accepted 358407654321/1")
	for range maxGarbled - 1 {
		s.in("40:002", "> 99:002")
	}
	s.in("40:002", "close 0 cimd2: 5 packets in a row are damaged, the last: cimd2: a packet without the checksum that is required")
}

// The SMSC is asked for its time; that it refuses, or does not know the question, does no harm.
func TestTime(t *testing.T) {
	s := boundClient(t)
	ask := func(number string) {
		t.Helper()
		s.step(smsc.AskTime{}, "> 09:"+number+"·500:501", "set response "+number+" 2s")
		s.ready(0)
	}
	ask("003")
	s.step(smsc.AskTime{}, "told nothing") // not now
	s.in("99:003", "> 09:003·500:501", "set response 003 2s")
	s.in("20:000·021:1·023:2·060:3·033:x", "delivered 1 2 > 1 x") // served meanwhile
	s.in("59:003·501:261122201500", "stop response 003", "told 261122201500")
	s.ready(1)
	for n, answer := range []string{"59:005·900:900", "98:007·900:1·901:unexpected operation", "98:000", "59:011", "59:013·501:tomorrow"} {
		number := fmt.Sprintf("%03d", 5+2*n)
		ask(number)
		s.in(answer, "stop response "+number, "told nothing")
		s.ready(1)
	}
	ask("015")
	s.due("response 015", "told nothing")
	s.ready(1)
	s.step(sub(1, "x"), "> 03:017"+submitted1+"x", "set response 017 10s")
	s.in("59:015·501:261122201500") // late
	s.in("53:017·060:1", "stop response 017", "answered 1 accepted 358407654321/1")
	ask("019")
	s.step(smsc.Logout{})
	s.in("59:019·900:900", "stop response 019", "told nothing", "> 02:021", "set logout 3s")

	s = boundClient(t)
	ask("003")
	s.step(smsc.Disconnected{})

	// What the caller asks himself is his: without an answer the session ends, as before.
	s = boundClient(t)
	s.step(smsc.Request{Ref: 1, Packet: packet(t, "09:000·500:501")}, "> 09:003·500:501", "set response 003 10s")
	s.due("response 003", "responded 1 cimd2: the session ended before the response", "close 0 cimd2: no response 003 within 10s")
}

func TestLoginCannotBeSent(t *testing.T) {
	cfg := testConfig
	cfg.Password = "a\tb"
	client(t, cfg).step(smsc.Connected{}, "close 1 cimd2: user or password cannot be sent: cimd2: parameter 011 holds octet 09, which no value may")
}

func TestLoginTimeout(t *testing.T) {
	s := client(t, testConfig)
	s.step(smsc.Connected{}, "> 01:001·010:user1·011:pass1", "set login 5s")
	s.in("20:000·021:1·023:2·060:3·033:x") // too early: it will be offered again
	s.in("40:000", "> 90:000")
	s.due("login", `close 0 cimd2: no answer to the login of "user1" within 5s`)
	s.in("51:001")
}

func TestServedWhileWaiting(t *testing.T) {
	s := boundClient(t)
	s.step(sub(1, "x"), "> 03:003"+submitted1+"x", "set response 003 10s")
	s.in("20:000·021:12345·023:+358407654321·060:261122201500·033:STOP", "delivered 1 +358407654321 > 12345 STOP")
	s.in("40:002", "> 90:002")
	s.in("23:004·021:+358407654321·060:261122201500·061:4·062:0·063:261122201510", "reported 2 358407654321/261122201500 delivered")
	s.step(smsc.Accept{Ref: 2}, "> 73:004")
	s.step(smsc.Accept{Ref: 1}, "> 70:000")
	s.step(smsc.Accept{Ref: 1}) // once is enough
	s.step(smsc.Accept{Ref: 99})
	s.ready(0)
	s.in("53:003·060:1", "stop response 003", "answered 1 accepted 358407654321/1")
}

func TestDuplicatesAreAnsweredNotProcessed(t *testing.T) {
	s := boundClient(t)
	const deliver = "20:000·021:12345·023:+358407654321·060:261122201500·033:STOP"
	s.in(deliver, "delivered 1 +358407654321 > 12345 STOP")
	s.in(deliver) // the answer is on its way
	s.step(smsc.Accept{Ref: 1}, "> 70:000")
	s.in(deliver, "> 70:000")
	// The same number with another content is no retransmission.
	s.in("20:000·021:12345·023:+358407654321·060:261122201501·033:GO", "delivered 2 +358407654321 > 12345 GO")
	s.step(smsc.Refuse{Ref: 2})
	s.step(smsc.Accept{Ref: 2})
	s.in("20:000·021:12345·023:+358407654321·060:261122201501·033:GO", "delivered 3 +358407654321 > 12345 GO")
	s.step(smsc.Accept{Ref: 3}, "> 70:000")
}

func TestUnknownOperation(t *testing.T) {
	s := boundClient(t)
	s.in("21:000", "> 98:000·900:1·901:unexpected operation")
	s.in("77:002", "> 98:002·900:1·901:unexpected operation")
	s.in("98:000·900:2") // general error though nothing is open
}

func TestAliveWhenIdle(t *testing.T) {
	s := boundClient(t)
	s.due("idle", "set idle 20s") // the login was heard
	s.due("idle", "> 40:003", "set response 003 10s", "set idle 20s")
	s.ready(0)
	s.in("90:003", "stop response 003")
	s.ready(1)
	s.step(sub(1, "x"), "> 03:005"+submitted1+"x", "set response 005 10s")
	s.due("idle", "set idle 20s")
	s.due("idle", "set idle 20s") // a submit is waited for: that tells enough
	s.in("53:005·060:1", "stop response 005", "answered 1 accepted 358407654321/1")
	s.due("idle", "set idle 20s")
	s.due("idle", "> 40:007", "set response 007 10s", "set idle 20s")
	s.due("response 007", "close 0 cimd2: no response 007 within 10s")
}

func TestStaleTimer(t *testing.T) {
	s := boundClient(t)
	s.step(sub(1, "x"), "> 03:003"+submitted1+"x", "set response 003 10s")
	s.in("53:003·060:1", "stop response 003", "answered 1 accepted 358407654321/1")
	s.due("response 003")
	s.step(smsc.Due{Timer: smsc.Timer{Name: "idle", Seq: 999}})
}

func TestResponseTimeout(t *testing.T) {
	s := boundClient(t)
	s.step(sub(1, "x"), "> 03:003"+submitted1+"x", "set response 003 10s")
	s.due("response 003", "answered 1 unknown", "close 0 cimd2: no response 003 within 10s")
	s.in("53:003·060:1") // late
	s.step(sub(2, "x"), "answered 2 bad_session")
	s.step(smsc.Disconnected{})
}

func TestNack(t *testing.T) {
	s := boundClient(t)
	s.step(sub(1, "x"), "> 03:003"+submitted1+"x", "set response 003 10s")
	s.in("99:003", "> 03:003"+submitted1+"x", "set response 003 10s")                      // the same again
	s.in("99:007", "stop response 003", "> 03:007"+submitted1+"x", "set response 007 10s") // with the number it wants
	s.in("53:007·060:1", "stop response 007", "answered 1 accepted 358407654321/1")        // and on from there
	s.step(sub(2, "x"), "> 03:009"+submitted1+"x", "set response 009 10s")                 //
	s.in("99:011")                                                                         // it has 009: the response will come
	s.in("99:009", "> 03:009"+submitted1+"x", "set response 009 10s")                      //
	s.in("99:009", "answered 2 unknown", "close 0 cimd2: NACK for packet 009, 3 in a row: numbers are out of step")
}

func TestNackWithOurParity(t *testing.T) {
	s := boundClient(t)
	s.in("99:004", "close 0 cimd2: NACK for packet 004, 1 in a row: numbers are out of step")
}

func TestGarbled(t *testing.T) {
	damaged := func(header string) smsc.Garbled {
		_, err := Decode([]byte("\x02" + header + "\t033:x\t00\x03"))
		return smsc.Garbled{Err: err}
	}
	s := boundClient(t)
	s.in("40:000", "> 90:000")
	s.step(damaged("20:002"), "> 99:002")
	s.step(damaged("53:003"))                                                // a response: the timeout decides
	s.step(smsc.Garbled{Err: &smsc.SyntaxError{Reason: "no header at all"}}) // whose number?
	s.in("40:002", "> 90:002")
	for range 4 {
		s.step(damaged("20:004"), "> 99:004")
	}
	s.step(sub(1, "x"), "> 03:003"+submitted1+"x", "set response 003 10s")
	s.step(damaged("20:004"), "answered 1 unknown",
		`close 0 cimd2: 5 packets in a row are damaged, the last: cimd2: checksum is 8C, the packet says "00" at octet 14`)

	s = boundClient(t)
	s.step(smsc.Garbled{Err: errors.New("connection reset")}, "close 0 cimd2: cannot read on: connection reset")
}

func TestLogout(t *testing.T) {
	s := boundClient(t)
	s.step(sub(1, "x"), "> 03:003"+submitted1+"x", "set response 003 10s")
	s.step(smsc.Logout{})
	s.ready(0)
	s.in("20:000·021:1·023:2·060:3·033:x", "delivered 1 2 > 1 x")
	s.in("53:003·060:1", "stop response 003", "answered 1 accepted 358407654321/1", "> 02:005", "set logout 3s")
	s.step(smsc.Accept{Ref: 1}, "> 70:000")
	s.in("52:005", "close 2 <nil>")

	s = boundClient(t)
	s.step(smsc.Logout{}, "> 02:003", "set logout 3s")
	s.due("logout", "close 2 <nil>")

	s = boundClient(t)
	s.step(sub(1, "x"), "> 03:003"+submitted1+"x", "set response 003 10s")
	s.in("02:000", "> 52:000", "answered 1 unknown", "close 0 cimd2: the SMSC logged us out")
}

func TestDisconnected(t *testing.T) {
	s := boundClient(t)
	s.step(sub(1, "x"), "> 03:003"+submitted1+"x", "set response 003 10s")
	s.step(smsc.Disconnected{}, "answered 1 unknown")
	s.step(smsc.Disconnected{})
}

func TestPolling(t *testing.T) {
	cfg := testConfig
	cfg.Poll = true
	s := client(t, cfg)
	s.step(smsc.Connected{}, "> 01:001·010:user1·011:pass1", "set login 5s")
	s.in("51:001", "stop login", "bound", "set idle 20s", "> 05:003·068:1", "set response 003 10s")
	s.ready(0)
	// One that comes after the response: the next is asked for at once.
	s.in("55:003", "stop response 003", "set poll 7s")
	s.in("20:000·021:1·023:2·060:3·033:one", "delivered 1 2 > 1 one")
	s.step(smsc.Accept{Ref: 1}, "> 70:000", "stop poll", "> 05:005·068:1", "set response 005 10s")
	// One that comes before it.
	s.in("20:002·021:1·023:2·060:3·033:two", "delivered 2 2 > 1 two")
	s.step(smsc.Accept{Ref: 2}, "> 70:002")
	s.in("55:005", "stop response 005", "> 05:007·068:1", "set response 007 10s")
	// None: later.
	s.in("55:007·900:7", "stop response 007", "set poll 7s")
	s.ready(1)
	s.step(sub(1, "x"), "> 03:009"+submitted1+"x", "set response 009 10s")
	s.due("poll") // must wait its turn
	s.in("53:009·060:1", "stop response 009", "answered 1 accepted 358407654321/1", "> 05:011·068:1", "set response 011 10s")
}

func boundServer(t *testing.T, cfg smsc.ServerConfig) *story {
	s := &story{t, NewServer(cfg), map[string]smsc.Timer{}}
	s.step(smsc.Connected{})
	s.in("01:001·010:user1·011:pass1", "login user1 pass1")
	s.in("01:001·010:user1·011:pass1") // being checked
	s.step(smsc.LoginResult{OK: true}, "> 51:001", "bound")
	return s
}

func TestServerSession(t *testing.T) {
	s := &story{t, NewServer(smsc.ServerConfig{Banner: "CIMD2-A ConnectionInfo:", LoginTimeout: time.Second, InactivityTimeout: time.Minute}), map[string]smsc.Timer{}}
	s.step(smsc.Connected{}, "> CIMD2-A ConnectionInfo:\r\n", "set login 1s", "set idle 30s")
	s.in("01:001·010:u·011:p", "login u p")
	s.step(smsc.LoginResult{OK: true}, "stop login", "> 51:001", "bound")
	s.in("03:003·021:+358407654321·023:12345·033:Hello", "submit 2 12345 > +358407654321 Hello")
	s.in("03:003·021:+358407654321·023:12345·033:Hello") // again, not answered yet
	s.step(smsc.ServerAnswer{Ref: 2, Outcome: smsc.Outcome{ID: "358407654321/261122201500"}}, "> 53:003·021:+358407654321·060:261122201500")
	s.in("03:003·021:+358407654321·023:12345·033:Hello", "> 53:003·021:+358407654321·060:261122201500")
	s.in("40:005", "> 90:005")
	s.in("04:007·021:1·060:261122201500", "> 54:007·900:7·901:cannot find information")
	s.in("02:009", "> 52:009", "close 0 <nil>")

	// Silence for a minute ends it, a packet begins the minute anew.
	s = &story{t, NewServer(smsc.ServerConfig{InactivityTimeout: time.Minute}), map[string]smsc.Timer{}}
	s.step(smsc.Connected{}, "set idle 30s")
	s.due("idle", "set idle 30s")
	s.due("idle", "set idle 30s")
	s.in("01:001·010:u·011:p", "login u p")
	s.due("idle", "set idle 30s")
	s.due("idle", "set idle 30s")
	s.due("idle", "close 0 cimd2: nothing heard for 1m0s")
}

func TestServerRefuses(t *testing.T) {
	for want, outcome := range map[string]smsc.Outcome{
		"> 53:003·900:9·901:requested operation failed":      {Fate: smsc.Temporary},
		"> 53:003·900:10·901:temporary congestion":           {Fate: smsc.Throttled},
		"> 53:003·900:300·901:incorrect destination address": {Fate: smsc.Permanent},
		"> 53:003·900:306·901:" + Error(306).Text():          {Fate: smsc.Permanent, Code: "CIMD2 306"},
	} {
		s := boundServer(t, smsc.ServerConfig{})
		s.in("03:003·021:1·033:x", "submit 2  > 1 x")
		s.step(smsc.ServerAnswer{Ref: 2, Outcome: outcome}, want)
	}
	s := boundServer(t, smsc.ServerConfig{})
	s.in("03:003·021:1·033:x", "submit 2  > 1 x")
	s.step(smsc.ServerAnswer{Ref: 2, Outcome: smsc.Outcome{Fate: smsc.Unknown}})

	s = &story{t, NewServer(smsc.ServerConfig{}), map[string]smsc.Timer{}}
	s.step(smsc.Connected{})
	s.in("01:001·010:u·011:p", "login u p")
	s.step(smsc.LoginResult{}, "> 51:001·900:100·901:invalid login", "close 0 cimd2: login refused")
}

// What only the owner of the messages knows, it is asked.
func TestServerManages(t *testing.T) {
	s := boundServer(t, smsc.ServerConfig{Manage: true})
	done := time.Date(2026, 11, 22, 20, 15, 10, 0, time.UTC)
	s.in("04:003·021:+358407654321·060:261122201500", "query 2 358407654321/261122201500")
	s.in("04:003·021:+358407654321·060:261122201500") // again
	s.step(smsc.QueryAnswer{Ref: 2, State: smsc.ReceiptUndeliverable, Code: "29 (absent subscriber)", Done: done},
		"> 54:003·021:+358407654321·060:261122201500·061:3·062:29·063:261122201510")
	s.step(smsc.QueryAnswer{Ref: 2}) // once is enough
	s.in("04:005·021:1·060:261122201500", "query 3 1/261122201500")
	s.step(smsc.QueryAnswer{Ref: 3, State: smsc.ReceiptEnroute}, "> 54:005·021:1·060:261122201500·061:1·062:0")
	s.in("04:007·021:1·060:261122201501", "query 4 1/261122201501")
	s.step(smsc.ServerAnswer{Ref: 4, Outcome: smsc.Outcome{Fate: smsc.Permanent}}, "> 54:007·900:7·901:cannot find information")
	s.in("06:009·059:2·021:+1·060:261122201500", `cancel 5 "1/261122201500" +1`)
	s.step(smsc.ServerAnswer{Ref: 5}, "> 56:009")
	s.in("06:011·059:0·021:+1", `cancel 6 "" +1`)
	s.step(smsc.ServerAnswer{Ref: 6, Outcome: smsc.Outcome{Fate: smsc.Temporary}}, "> 56:011·900:9·901:requested operation failed")
	s.in("06:013·059:1", `cancel 7 "" `)
	s.step(smsc.ServerAnswer{Ref: 7, Outcome: smsc.Outcome{Fate: smsc.Permanent, Code: "CIMD2 602"}}, "> 56:013·900:602·901:incorrect cancel mode")
	s.in("08:015·011:new", "password 8 new")
	s.step(smsc.ServerAnswer{Ref: 8}, "> 58:015")
	s.in("08:017·011:newer", "password 9 newer")
	s.step(smsc.ServerAnswer{Ref: 9, Outcome: smsc.Outcome{Fate: smsc.Permanent}}, "> 58:017·900:801·901:password change not allowed")
	s.in("09:019·500:501", "time 10")
	s.step(smsc.TimeAnswer{Ref: 10, At: done}, "> 59:019·501:261122201510")
	s.in("09:021·500:502", "> 59:021·900:900·901:requested item not supported")

	s = boundServer(t, smsc.ServerConfig{})
	s.in("04:003·021:1·060:261122201500", "> 54:003·900:7·901:cannot find information")
	s.in("06:005·059:1", "> 56:005·900:7·901:cannot find information")
	s.in("08:007·011:new", "> 58:007·900:801·901:password change not allowed")
	s.in("09:009·500:501", "> 59:009·900:900·901:requested item not supported")
}

// Several destinations are several messages; the answer goes when all are decided.
func TestServerSeveralDestinations(t *testing.T) {
	const line = "·021:1·021:+2·021:3·023:9·033:x"
	s := boundServer(t, smsc.ServerConfig{})
	s.in("03:003"+line, "submit 2 9 > 1 x", "submit 3 9 > +2 x", "submit 4 9 > 3 x")
	s.step(smsc.ServerAnswer{Ref: 4, Outcome: smsc.Outcome{ID: "3/261122201502"}})
	s.step(smsc.ServerAnswer{Ref: 2, Outcome: smsc.Outcome{ID: "1/261122201500"}})
	s.step(smsc.ServerAnswer{Ref: 2, Outcome: smsc.Outcome{ID: "1/261122201501"}}) // answered already
	s.step(smsc.ServerAnswer{Ref: 3, Outcome: smsc.Outcome{Fate: smsc.Permanent}},
		"> 53:003·021:1·060:261122201500·021:+2·900:300·021:3·060:261122201502")
	s.in("03:003"+line, "> 53:003·021:1·060:261122201500·021:+2·900:300·021:3·060:261122201502")
	s.in("03:005·021:7·033:x", "submit 5  > 7 x")
	s.step(smsc.ServerAnswer{Ref: 5, Outcome: smsc.Outcome{ID: "7/261122201500"}}, "> 53:005·021:7·060:261122201500")
	s.in("03:007"+line, "submit 6 9 > 1 x", "submit 7 9 > +2 x", "submit 8 9 > 3 x")
	s.step(smsc.ServerAnswer{Ref: 7, Outcome: smsc.Outcome{Fate: smsc.Unknown}}) // no answer at all
	s.step(smsc.ServerAnswer{Ref: 6, Outcome: smsc.Outcome{ID: "1/261122201500"}})
	s.step(smsc.ServerAnswer{Ref: 8, Outcome: smsc.Outcome{ID: "3/261122201500"}})
}

func TestServerWindow(t *testing.T) {
	connected := func(window int) *story {
		s := &story{t, NewServer(smsc.ServerConfig{SubmitWindow: window}), map[string]smsc.Timer{}}
		s.step(smsc.Connected{})
		return s
	}
	connected(1).in("01:001·010:u·011:p·019:2", "> 51:001·900:105·901:windowing disabled")
	connected(1).in("01:001·010:u·011:p·019:1", "login u p")
	s := connected(10)
	s.in("01:001·010:u·011:p·019:11", "> 51:001·900:104·901:invalid window size")
	s.in("01:003·010:u·011:p·019:2", "login u p")
	s.step(smsc.LoginResult{OK: true}, "> 51:003", "bound")
	s.in("03:005·021:1·033:x", "submit 2  > 1 x")
	s.in("03:007·021:1·033:x", "submit 3  > 1 x")
	s.in("03:009·021:1·033:x", "> 53:009·900:10·901:temporary congestion")
	s.in("40:011", "> 90:011")
	s.step(smsc.ServerAnswer{Ref: 3, Outcome: smsc.Outcome{ID: "1/261122201500"}}, "> 53:007·021:1·060:261122201500")
	s.in("03:013·021:1·033:x", "submit 4  > 1 x")
}

func TestServerChecksums(t *testing.T) {
	s := &story{t, NewServer(smsc.ServerConfig{RequireChecksum: true, NoChecksum: true}), map[string]smsc.Timer{}}
	s.step(smsc.Connected{})
	login := packet(t, "01:001·010:u·011:p")
	s.step(smsc.Received{Packet: login}, "> 99:001")
	login.Bare = false
	s.step(smsc.Received{Packet: login}, "login u p")
	write := s.m.Handle(smsc.LoginResult{OK: true}, nil)[0].(smsc.Write)
	if p, err := Decode(write.Octets); err != nil || !p.Bare {
		t.Errorf("%v %v", p, err)
	}
}

func TestServerLogin(t *testing.T) {
	s := &story{t, NewServer(smsc.ServerConfig{}), map[string]smsc.Timer{}}
	s.step(smsc.Connected{})
	s.in("01:001·010:u", "> 51:001·900:100·901:invalid login")
	s.in("01:003·010:u·011:p", "login u p")
	s.step(smsc.LoginResult{Code: "CIMD2 102"}, "> 51:003·900:102·901:too many users with this login", "close 0 cimd2: login refused")

	m := NewServer(smsc.ServerConfig{})
	m.Handle(smsc.Connected{}, nil)
	if login := m.Handle(in(t, "01:001·010:u·011:p·012:4"), nil)[0].(smsc.LoginReceived); login.Subaddress != "4" {
		t.Errorf("%+v", login)
	}
}

// What cannot be written is answered all the same, and never twice.
func TestServerCannotWrite(t *testing.T) {
	s := boundServer(t, smsc.ServerConfig{})
	s.in("03:003·021:1·033:x", "submit 2  > 1 x")
	s.step(smsc.ServerAnswer{Ref: 2, Outcome: smsc.Outcome{ID: "1/\t"}}, "> 53:003·900:6·901:general system error")
	s.step(smsc.ServerAnswer{Ref: 2, Outcome: smsc.Outcome{ID: "1/1"}})
	s.step(smsc.ServerDeliver{Ref: 1, Deliver: smsc.Deliver{At: "\t"}}, "deliver 1 ok=false temporary=false")
	long := smsc.Deliver{Part: hello(strings.Repeat("x", 161))}
	s.step(smsc.ServerDeliver{Ref: 2, Deliver: long}, "deliver 2 ok=false temporary=false")
	const at = "261122201500"
	for _, sender := range []string{"Name", "", strings.Repeat("1", 23)} {
		d := smsc.Deliver{Part: smsc.Part{From: smsc.ParseAddress(sender), To: from, Class: -1}, At: at}
		s.step(smsc.ServerDeliver{Ref: 3, Deliver: d}, "deliver 3 ok=false temporary=false")
	}
	s.step(smsc.ServerReport{Ref: 4, Part: hello("x"), Receipt: smsc.Receipt{ID: "1/" + at}}, "deliver 4 ok=false temporary=false") // no time of discharge
	s.step(smsc.ServerDeliver{Ref: 5, Deliver: smsc.Deliver{Part: hello("x"), At: at}},
		"> 20:000·021:+358407654321·023:12345·060:261122201500·033:x", "set response 000 30s") // no number was lost
}

func TestServerDelivers(t *testing.T) {
	s := boundServer(t, smsc.ServerConfig{ResponseTimeout: time.Second})
	m := s.m.(smsc.ServerMachine)
	d := smsc.Deliver{Part: smsc.Part{From: to, To: from, Class: -1, Data: []byte("STOP")}, At: "261122201500"}
	if m.DeliverReady() != 1 {
		t.Error(m.DeliverReady())
	}
	s.step(smsc.ServerDeliver{Ref: 1, Deliver: d}, "> 20:000·021:12345·023:+358407654321·060:261122201500·033:STOP", "set response 000 1s")
	if m.DeliverReady() != 0 {
		t.Error(m.DeliverReady())
	}
	s.step(smsc.ServerDeliver{Ref: 2, Deliver: d}, "deliver 2 ok=false temporary=true")
	s.in("99:000", "> 20:000·021:12345·023:+358407654321·060:261122201500·033:STOP", "set response 000 1s")
	s.in("70:000", "stop response 000", "deliver 1 ok=true temporary=false")
	s.step(smsc.ServerReport{Ref: 3, Part: hello("x"), Receipt: smsc.Receipt{ID: "358407654321/261122201500", State: smsc.ReceiptDelivered}, Done: time.Date(2026, 11, 22, 20, 15, 10, 0, time.UTC)},
		"> 23:002·021:+358407654321·060:261122201500·061:4·062:0·063:261122201510", "set response 002 1s")
	s.due("response 002", "deliver 3 ok=false temporary=true") // not now: the session stays
	s.in("73:002")
	s.step(smsc.ServerDeliver{Ref: 4, Deliver: d}, "> 20:004·021:12345·023:+358407654321·060:261122201500·033:STOP", "set response 004 1s")
	s.in("70:004·900:730", "stop response 004", "deliver 4 ok=false temporary=false")
	s.step(smsc.ServerDeliver{Ref: 5, Deliver: d}, "> 20:006·021:12345·023:+358407654321·060:261122201500·033:STOP", "set response 006 1s")
	s.step(smsc.Disconnected{}, "deliver 5 ok=false temporary=true")
}

// A logout does not wait for an open deliver for ever.
func TestServerLogsOutUnanswered(t *testing.T) {
	s := boundServer(t, smsc.ServerConfig{})
	d := smsc.Deliver{Part: smsc.Part{From: to, To: from, Class: -1, Data: []byte("STOP")}, At: "261122201500"}
	s.step(smsc.ServerDeliver{Ref: 1, Deliver: d}, "> 20:000·021:12345·023:+358407654321·060:261122201500·033:STOP", "set response 000 30s")
	s.step(smsc.Logout{}, "set logout 30s")
	s.due("logout", "deliver 1 ok=false temporary=true", "close 0 <nil>")
}

// Where the ESME is silent the SMSC asks whether it is there.
func TestServerAlive(t *testing.T) {
	s := &story{t, NewServer(smsc.ServerConfig{KeepAlive: 40 * time.Second, ResponseTimeout: 10 * time.Second}), map[string]smsc.Timer{}}
	m := s.m.(smsc.ServerMachine)
	s.step(smsc.Connected{})
	s.in("01:001·010:u·011:p", "login u p")
	s.step(smsc.LoginResult{OK: true}, "> 51:001", "bound", "set alive 20s")
	s.due("alive", "set alive 20s") // it was heard
	s.due("alive", "> 40:000", "set response 000 10s", "set alive 20s")
	if m.DeliverReady() != 0 {
		t.Error("a deliver may go beside the alive")
	}
	s.in("90:000", "stop response 000")
	s.due("alive", "set alive 20s")
	s.step(smsc.ServerDeliver{Ref: 1, Deliver: smsc.Deliver{Part: hello("x"), At: "261122201500"}},
		"> 20:002·021:+358407654321·023:12345·060:261122201500·033:x", "set response 002 10s")
	s.due("alive", "set alive 20s") // the deliver asks as well
	s.in("70:002", "stop response 002", "deliver 1 ok=true temporary=false")
	_, err := Decode([]byte("\x0203:005\tbad\t\x03"))
	s.step(smsc.Garbled{Err: err}, "> 99:003")
	s.due("alive", "set alive 20s") // that was a sign of life, too
	s.due("alive", "> 40:004", "set response 004 10s", "set alive 20s")
	s.in("99:004", "> 40:004", "set response 004 10s")
	s.due("response 004", "close 0 cimd2: no response to the alive within 10s")
	s.due("alive")
}

// The SMSC logs the ESME out when nothing is open any more: who waits for a response
// would not know what became of its message.
func TestServerLogsOut(t *testing.T) {
	cfg := smsc.ServerConfig{ResponseTimeout: 10 * time.Second}
	s := boundServer(t, cfg)
	m := s.m.(smsc.ServerMachine)
	deliver := smsc.ServerDeliver{Ref: 1, Deliver: smsc.Deliver{Part: hello("x"), At: "261122201500"}}
	s.step(deliver, "> 20:000·021:+358407654321·023:12345·060:261122201500·033:x", "set response 000 10s")
	s.in("03:003·021:1·033:x", "submit 2  > 1 x")
	s.step(smsc.Logout{}, "set logout 10s")
	s.step(smsc.Logout{}) // once is enough
	s.in("03:005·021:1·033:x", "> 53:005·900:10·901:temporary congestion")
	s.in("40:007", "> 90:007")
	s.in("70:000", "stop response 000", "deliver 1 ok=true temporary=false")
	if m.DeliverReady() != 0 {
		t.Error("another deliver may go")
	}
	s.step(smsc.ServerAnswer{Ref: 2, Outcome: smsc.Outcome{ID: "1/261122201500"}}, "> 53:003·021:1·060:261122201500", "> 02:002", "set logout 10s")
	if s.m.State() != "closing" {
		t.Error(s.m.State())
	}
	s.in("03:009·021:1·033:x", "> 53:009·900:10·901:temporary congestion")
	s.in("52:002", "close 0 <nil>")

	s = boundServer(t, cfg) // it logs out at the same time
	s.step(smsc.Logout{}, "set logout 10s", "> 02:000", "set logout 10s")
	s.in("02:003", "> 52:003", "close 0 <nil>")

	s = boundServer(t, cfg) // it does not answer
	s.step(smsc.Logout{}, "set logout 10s", "> 02:000", "set logout 10s")
	s.due("logout", "close 0 <nil>")

	s = boundServer(t, cfg) // what is open stays so
	s.in("03:003·021:1·033:x", "submit 2  > 1 x")
	s.step(smsc.Logout{}, "set logout 10s")
	s.due("logout", "close 0 <nil>")

	s = &story{t, NewServer(cfg), map[string]smsc.Timer{}} // nobody is logged in
	s.step(smsc.Connected{})
	s.step(smsc.Logout{}, "close 0 <nil>")
}

// The ESME of this package answers the SMSC's alive and logout.
func TestBothEndsAliveAndLogout(t *testing.T) {
	for _, leaving := range []bool{false, true} {
		esme, centre := New(testConfig), NewServer(smsc.ServerConfig{KeepAlive: time.Minute, ResponseTimeout: time.Minute})
		timers := map[string]smsc.Timer{}
		var said []string
		var client, server func(smsc.Event)
		client = func(ev smsc.Event) {
			for _, e := range esme.Handle(ev, nil) {
				switch e := e.(type) {
				case smsc.Write:
					said = append(said, "esme "+show(e))
					packets, _ := read(e.Octets)
					server(smsc.Received{Packet: packets[0]})
				case smsc.Close:
					said = append(said, "esme "+show(e))
				}
			}
		}
		server = func(ev smsc.Event) {
			for _, e := range centre.Handle(ev, nil) {
				switch e := e.(type) {
				case smsc.Write:
					said = append(said, "smsc "+show(e))
					packets, _ := read(e.Octets)
					client(smsc.Received{Packet: packets[0]})
				case smsc.LoginReceived:
					server(smsc.LoginResult{OK: true})
				case smsc.SetTimer:
					timers[e.Timer.Name] = e.Timer
				case smsc.Close:
					said = append(said, "smsc "+show(e))
				}
			}
		}
		server(smsc.Connected{})
		client(smsc.Connected{})
		said = nil
		for range 3 { // the ESME was heard within the first and third
			server(smsc.Due{Timer: timers["alive"]})
		}
		want := []string{"smsc > 40:000", "esme > 90:000"}
		if leaving { // both at the same time
			esme.Handle(smsc.Logout{}, nil)
			want = append(want, "smsc > 02:002", "esme > 52:002", "smsc close 0 <nil>", "esme close 2 <nil>")
		} else {
			want = append(want, "smsc > 02:002", "esme > 52:002", "smsc close 0 <nil>", "esme close 0 cimd2: the SMSC logged us out")
		}
		server(smsc.Logout{})
		if !slices.Equal(said, want) {
			t.Errorf("leaving %v: %s\nwant %s", leaving, strings.Join(said, "\n"), strings.Join(want, "\n"))
		}
	}
}

func TestServerNumbers(t *testing.T) {
	s := boundServer(t, smsc.ServerConfig{})
	s.in("40:007", "> 99:003")
	s.in("40:004", "> 99:003")
	s.in("40:003", "> 90:003")
	s = boundServer(t, smsc.ServerConfig{AnyNumber: true})
	s.in("40:007", "> 90:007")
	s.in("40:008", "> 99:009")
}

// A request that breaks the syntax is answered like a sound one when it comes again, or
// out of step.
func TestServerMalformedAgain(t *testing.T) {
	garbled := func(line string) smsc.Event {
		_, err := Decode([]byte("\x02" + line + "\tbad\t\x03"))
		if err == nil {
			t.Fatalf("%q is taken", line)
		}
		return smsc.Garbled{Err: err}
	}
	const refused = "·900:2·901:syntax error"
	s := boundServer(t, smsc.ServerConfig{})
	s.step(garbled("03:003"), "> 53:003"+refused)
	s.step(garbled("03:003"), "> 53:003"+refused) // the response was lost
	s.step(garbled("03:009"), "> 99:005")
	s.step(garbled("03:004"), "> 99:005")
	s.step(garbled("53:005")) // a response: nobody asked
	s.step(garbled("03:005"), "> 53:005"+refused)
	s.in("40:007", "> 90:007")
	s.step(garbled("40:005"), "> 99:009") // not what stood there
	s.step(garbled("03:005"), "> 53:005"+refused)

	s = boundServer(t, smsc.ServerConfig{AnyNumber: true})
	s.step(garbled("03:009"), "> 53:009"+refused)
	s.step(garbled("03:012"), "> 99:011")
	s.step(garbled("77:011"), "> 98:011"+refused) // no operation, and no number for a response to it

	// An ESME with a window is asked once for what is missing.
	s = &story{t, NewServer(smsc.ServerConfig{}), map[string]smsc.Timer{}}
	s.step(smsc.Connected{})
	s.in("01:001·010:u·011:p·019:5", "login u p")
	s.step(smsc.LoginResult{OK: true}, "> 51:001", "bound")
	s.step(garbled("03:007"), "> 99:003")
	s.step(garbled("03:009"))
	s.step(garbled("03:003"), "> 53:003"+refused)
	s.step(garbled("03:007"), "> 99:005")
}

// What an ESME with a window sent behind a lost packet is dropped without
// another NACK: it goes again by itself.
func TestServerNacksAGapOnce(t *testing.T) {
	s := &story{t, NewServer(smsc.ServerConfig{}), map[string]smsc.Timer{}}
	s.step(smsc.Connected{})
	s.in("01:001·010:u·011:p·019:5", "login u p")
	s.step(smsc.LoginResult{OK: true}, "> 51:001", "bound")
	s.in("40:005", "> 99:003")
	s.in("40:007")
	s.in("40:003", "> 90:003")
	s.in("40:007", "> 99:005")
	s.in("40:005", "> 90:005")
}

func TestServerRetrieving(t *testing.T) {
	s := &story{t, NewServer(smsc.ServerConfig{Window: 5}), map[string]smsc.Timer{}}
	m := s.m.(smsc.ServerMachine)
	s.step(smsc.Connected{})
	s.in("01:001·010:u·011:p", "login u p")
	s.step(smsc.LoginResult{OK: true, Retrieving: true}, "> 51:001", "bound")
	for _, c := range []struct {
		request, answer string
		waiting, ready  int
	}{
		{"05:003·068:0", "> 55:003·066:3", 3, 0},
		{"05:005", "> 55:005", 3, 1},
		{"05:007·068:2", "> 55:007", 3, 3},
		{"05:009·068:1", "> 55:009·900:7·901:cannot find information", 0, 3},
	} {
		s.in(c.request, fmt.Sprintf("requested %d", (packet(t, c.request).Number+1)/2))
		s.step(smsc.WaitingResult{Ref: uint64((packet(t, c.request).Number + 1) / 2), Waiting: c.waiting}, c.answer)
		if m.DeliverReady() != c.ready {
			t.Errorf("%s: ready for %d, want %d", c.request, m.DeliverReady(), c.ready)
		}
	}
}

// drawEvent draws anything that could happen, likely or not.
func drawEvent(t *rapid.T, refs *uint64) smsc.Event {
	n := uint8(rapid.OneOf(rapid.IntRange(0, 9), rapid.IntRange(0, 255)).Draw(t, "number"))
	switch rapid.IntRange(0, 12).Draw(t, "event") {
	case 0:
		return smsc.Connected{}
	case 1, 2, 3:
		*refs++
		return smsc.Submit{Ref: *refs, Part: hello("x")}
	case 4, 5, 6, 7:
		p := &Packet{Number: n}
		p.Operation = rapid.SampledFrom([]Operation{51, 51, 53, 53, 53, 52, 55, 90, 98, 99, 20, 23, 40, 2, 77}).Draw(t, "operation")
		if rapid.IntRange(0, 3).Draw(t, "fails") == 0 {
			p.AddInt(ErrorCode, rapid.SampledFrom([]int{0, 1, 5, 9, 10, 105, 300}).Draw(t, "code"))
		}
		return smsc.Received{Packet: p}
	case 8:
		_, err := Decode([]byte(fmt.Sprintf("\x0220:%03d\t00\x03", n)))
		return smsc.Garbled{Err: err}
	case 9:
		return smsc.Accept{Ref: uint64(n)}
	case 10:
		name := rapid.SampledFrom([]string{"login", "idle", "poll", "logout", "response 001", "response 003", "response 005"}).Draw(t, "timer")
		return smsc.Due{Timer: smsc.Timer{Name: name, Seq: uint64(n)}}
	case 11:
		return rapid.SampledFrom([]smsc.Event{smsc.Logout{}, smsc.Refuse{Ref: uint64(n)}}).Draw(t, "other")
	default:
		return rapid.SampledFrom([]smsc.Event{smsc.Disconnected{}, smsc.Accept{Ref: 1}, smsc.Accept{Ref: 2}, smsc.Accept{Ref: 3}}).Draw(t, "other")
	}
}

// Whatever happens in whatever order: each submit is answered once, none is
// open at the end, the window is kept, and nothing is written after Close.
func TestEachSubmitIsAnsweredOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := testConfig
		cfg.Window = rapid.IntRange(1, 4).Draw(t, "window")
		cfg.Poll = rapid.Bool().Draw(t, "poll")
		m := New(cfg)
		var refs uint64
		answers := map[uint64]int{}
		over := false
		handle := func(ev smsc.Event) {
			ready := m.Ready()
			do := m.Handle(ev, nil)
			for _, e := range do {
				switch e := e.(type) {
				case smsc.Answered:
					answers[e.Ref]++
				case smsc.Close:
					over = true
				default:
					if over {
						t.Fatalf("%s after the end", show(e))
					}
				}
			}
			if _, ok := ev.(smsc.Submit); ok && ready > 0 && m.Ready() != ready-1 {
				t.Fatalf("ready for %d before a submit, for %d after it", ready, m.Ready())
			}
			if open := len(m.(*machine).out.open); open > cfg.Window+1 { // one more: a probe or the logout
				t.Fatalf("%d open", open)
			}
		}
		if rapid.Bool().Draw(t, "log in") {
			handle(smsc.Connected{})
			handle(smsc.Received{Packet: &Packet{Operation: Login.Response(), Number: 1}})
		}
		for range rapid.IntRange(0, 60).Draw(t, "events") {
			handle(drawEvent(t, &refs))
		}
		handle(smsc.Disconnected{})
		for ref := uint64(1); ref <= refs; ref++ {
			if answers[ref] != 1 {
				t.Fatalf("submit %d is answered %d times", ref, answers[ref])
			}
		}
	})
}

// An ESME and an SMSC of this package over a line that garbles packets now and
// then: every submit is accepted once, in order, every deliver arrives once.
func TestBothEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := testConfig
		cfg.Window = rapid.IntRange(1, 5).Draw(t, "window")
		esme, centre := New(cfg), NewServer(smsc.ServerConfig{})
		var toCentre, toESME []smsc.Event
		var submitted, answered, delivered, confirmed []uint64
		damaged := map[uint8]int{} // how often, by packet number
		wire := func(w smsc.Write) smsc.Event {
			octets := slices.Clone(w.Octets)
			p, _ := Decode(octets)
			// A damaged response, or a request for the third time, ends the session.
			if p.Operation.Request() && damaged[p.Number] < 2 && rapid.IntRange(0, 9).Draw(t, "damage") == 0 {
				damaged[p.Number]++
				octets[len(octets)-3] ^= 1
			}
			q, err := Decode(octets)
			if err != nil {
				return smsc.Garbled{Err: err}
			}
			return smsc.Received{Packet: q}
		}
		var client, server func(smsc.Event)
		client = func(ev smsc.Event) {
			for _, e := range esme.Handle(ev, nil) {
				switch e := e.(type) {
				case smsc.Write:
					toCentre = append(toCentre, wire(e))
				case smsc.Answered:
					if e.Outcome.Fate != smsc.Accepted {
						t.Fatalf("submit %d: %+v", e.Ref, e.Outcome)
					}
					answered = append(answered, e.Ref)
				case smsc.Delivered:
					delivered = append(delivered, uint64(len(e.Deliver.Data)))
					client(smsc.Accept{Ref: e.Ref})
				case smsc.Close:
					t.Fatalf("the ESME closes: %v", e.Err)
				}
			}
		}
		server = func(ev smsc.Event) {
			for _, e := range centre.Handle(ev, nil) {
				switch e := e.(type) {
				case smsc.Write:
					toESME = append(toESME, wire(e))
				case smsc.LoginReceived:
					server(smsc.LoginResult{OK: e.User == cfg.User})
				case smsc.SubmitReceived:
					submitted = append(submitted, uint64(len(e.Part.Data)))
					server(smsc.ServerAnswer{Ref: e.Ref, Outcome: smsc.Outcome{ID: "1/261122201500"}})
				case smsc.DeliverAnswered:
					if !e.OK {
						t.Fatalf("deliver %d: %+v", e.Ref, e)
					}
					confirmed = append(confirmed, e.Ref)
				case smsc.Close:
					t.Fatalf("the SMSC closes: %v", e.Err)
				}
			}
		}
		server(smsc.Connected{})
		client(smsc.Connected{})
		const total = 40
		var sent, offered uint64
		for step := 0; len(answered) < total || len(confirmed) < total; step++ {
			if step > 10000 {
				t.Fatalf("stuck: %d submits answered, %d delivers, %s, %s", len(answered), len(confirmed), esme.State(), centre.State())
			}
			switch rapid.IntRange(0, 3).Draw(t, "who") {
			case 0:
				if sent < total && esme.Ready() > 0 {
					sent++
					client(smsc.Submit{Ref: sent, Part: hello(strings.Repeat("a", int(sent)))})
				}
			case 1:
				if offered < total && centre.DeliverReady() > 0 {
					offered++
					server(smsc.ServerDeliver{Ref: offered, Deliver: smsc.Deliver{Part: hello(strings.Repeat("b", int(offered))), At: "261122201500"}})
				}
			case 2:
				if len(toCentre) > 0 {
					ev := toCentre[0]
					toCentre = toCentre[1:]
					server(ev)
				}
			case 3:
				if len(toESME) > 0 {
					ev := toESME[0]
					toESME = toESME[1:]
					client(ev)
				}
			}
		}
		for _, list := range [][]uint64{submitted, answered, delivered, confirmed} {
			if len(list) != total || !slices.IsSorted(list) {
				t.Fatalf("not each once and in order: %v", list)
			}
		}
	})
}
