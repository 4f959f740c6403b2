package simulator

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/cimd2"
	"github.com/ringway-im/ringway/smsc/smpp"
	"github.com/ringway-im/ringway/smsc/text"
)

// Each form of SMPP receipt, as octets on the line and as the ESME's machine
// understands it.
func TestReceiptForms(t *testing.T) {
	t.Parallel()
	const date, long = `\d{10}`, `\d{12}`
	full := func(id, date string) string {
		return "^id:" + id + " sub:001 dlvrd:001 submit date:" + date + " done date:" + date + " stat:DELIVRD err:000 text:hello there$"
	}
	tests := []struct {
		name     string
		receipts Receipts
		quirks   smsc.Quirks
		response string // pattern of its id
		text     string // pattern of the receipt's text
		check    func(p *smpp.DeliverSM) bool
		unknown  bool // the machine cannot tell which message it is of
	}{
		{
			name: "as specified", response: `^\d{16}$`, text: full(`\d{16}`, date),
			check: func(p *smpp.DeliverSM) bool {
				id, _ := p.TLVs.Text(smpp.TagReceiptedMessageID)
				return p.ESMClass == 4 && strings.Contains(string(p.ShortMessage), "id:"+id+" ") && p.SourceAddr == subscriber[1:]
			},
		},
		{
			name: "hex to decimal", receipts: Receipts{ResponseID: "hex"}, quirks: smsc.Quirks{ReceiptIDs: smsc.IDHexToDecimal},
			response: `^[0-9a-f]{13}$`, text: full(`\d{16}`, date),
		},
		{
			name: "decimal to HEX", receipts: Receipts{ReceiptID: "HEX", IDDigits: 20}, quirks: smsc.Quirks{ReceiptIDs: smsc.IDDecimalToHex},
			response: `^0{4}\d{16}$`, text: full(`0{7}[0-9A-F]{13}`, date),
		},
		{
			name: "hex and HEX", receipts: Receipts{ResponseID: "hex", ReceiptID: "HEX"}, quirks: smsc.Quirks{ReceiptIDs: smsc.IDHex},
			response: `^[0-9a-f]{13}$`, text: full(`[0-9A-F]{13}`, date),
		},
		{
			name: "decimal padded", receipts: Receipts{IDDigits: 20}, quirks: smsc.Quirks{ReceiptIDs: smsc.IDDecimal},
			response: `^0{4}\d{16}$`, text: full(`0{4}\d{16}`, date),
		},
		{
			name: "text alone", receipts: Receipts{Form: "text"}, response: `^\d{16}$`, text: full(`\d{16}`, date),
			check: func(p *smpp.DeliverSM) bool { return len(p.TLVs) == 0 },
		},
		{
			name: "TLVs alone", receipts: Receipts{Form: "tlvs"}, response: `^\d{16}$`, text: `^$`,
			check: func(p *smpp.DeliverSM) bool {
				state, ok := p.TLVs.Uint8(smpp.TagMessageState)
				return ok && state == 2
			},
		},
		{
			name: "payload", receipts: Receipts{Form: "payload"}, response: `^\d{16}$`, text: `^$`,
			check: func(p *smpp.DeliverSM) bool {
				body, _ := p.TLVs.Get(smpp.TagMessagePayload)
				return len(p.TLVs) == 1 && regexp.MustCompile(full(`\d{16}`, date)).Match(body)
			},
		},
		{
			name: "fields missing", receipts: Receipts{Form: "text", Omit: []string{"sub", "dlvrd", "err", "text"}},
			response: `^\d{16}$`, text: `^id:\d{16} submit date:\d{10} done date:\d{10} stat:DELIVRD$`,
		},
		{
			name: "no id in the text", receipts: Receipts{Omit: []string{"id"}}, response: `^\d{16}$`, text: `^sub:001 `,
		},
		{
			name: "no id at all", receipts: Receipts{Form: "text", Omit: []string{"id"}}, response: `^\d{16}$`, text: `^sub:001 `, unknown: true,
		},
		{
			name: "lower case", receipts: Receipts{Form: "text", Case: "lower"}, response: `^\d{16}$`, text: ` stat:delivrd err:`,
		},
		{
			name: "upper case", receipts: Receipts{Form: "text", Case: "upper"}, response: `^\d{16}$`, text: `^ID:\d{16} SUB:001 .* STAT:DELIVRD ERR:000 TEXT:hello there$`,
		},
		{
			name: "seconds", receipts: Receipts{Form: "text", Seconds: true}, response: `^\d{16}$`, text: full(`\d{16}`, long),
		},
		{
			name: "no class", receipts: Receipts{Form: "text", NoClass: true}, response: `^\d{16}$`, text: full(`\d{16}`, date),
			check: func(p *smpp.DeliverSM) bool { return p.ESMClass == 0 },
		},
		{
			name: "UCS2", receipts: Receipts{Form: "text", UCS2: true}, response: `^\d{16}$`,
			check: func(p *smpp.DeliverSM) bool {
				return p.DataCoding == 8 && regexp.MustCompile(full(`\d{16}`, date)).MatchString(text.DecodeUCS2(p.ShortMessage))
			},
		},
		{
			name: "swapped", receipts: Receipts{Swapped: true}, response: `^\d{16}$`, text: full(`\d{16}`, date),
			check: func(p *smpp.DeliverSM) bool {
				return p.SourceAddr == service && p.DestinationAddr == subscriber[1:]
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, Config{Receipts: tt.receipts})
			l := raw(t, s, smpp.Protocol)
			l.login("ringway")
			l.send(submitSM(2))
			if r := next[*smpp.SubmitSMResp](l); !regexp.MustCompile(tt.response).MatchString(r.MessageID) {
				t.Errorf("the response has id %q, want %s", r.MessageID, tt.response)
			}
			p := next[*smpp.DeliverSM](l)
			if !regexp.MustCompile(tt.text).Match(p.ShortMessage) {
				t.Errorf("got %q, want %s", p.ShortMessage, tt.text)
			}
			if tt.check != nil && !tt.check(p) {
				t.Errorf("got %+v", p)
			}
			_ = l.conn.Close()
			until(t, "gone", func() bool { return s.Stats().Sessions == 0 })

			cfg := account
			cfg.Quirks = tt.quirks
			e := bind(t, s, smpp.Protocol, cfg)
			get(t, e.receipts, "the one that was not answered")
			part := parts(t, "hello there", 0)[0]
			part.Report = true
			id := e.submit(part).ID
			r := get(t, e.receipts, "receipt")
			if tt.unknown {
				if r.ID != "" {
					t.Errorf("the machine made up id %q", r.ID)
				}
			} else if id == "" || r.ID != id || r.State != smsc.ReceiptDelivered {
				t.Errorf("got %+v, want id %q", r, id)
			}
		})
	}
}

// A message's user_message_reference is in each of its receipts.
func TestReceiptHasTheReference(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Receipts: Receipts{Before: "enroute"}})
	l := raw(t, s, smpp.Protocol)
	l.login("ringway")
	p := submitSM(2)
	p.TLVs.AddUint16(smpp.TagUserMessageReference, 0xBEEF)
	l.send(p)
	next[*smpp.SubmitSMResp](l)
	for range 2 {
		d := next[*smpp.DeliverSM](l)
		if v, ok := d.TLVs.Uint16(smpp.TagUserMessageReference); !ok || v != 0xBEEF {
			t.Errorf("%+v", d.TLVs)
		}
		l.send(&smpp.DeliverSMResp{Header: smpp.Header{Sequence: d.Sequence}})
	}
}

func TestStatusReportWithoutParameters(t *testing.T) {
	s := start(t, Config{Receipts: Receipts{Omit: []string{"062", "063"}}})
	l := raw(t, s, cimd2.Protocol)
	l.login("ringway")
	l.send(packet(cimd2.Submit, 3, cimd2.DestinationAddress, subscriber, cimd2.StatusReportRequest, "14", cimd2.UserData, "hello"))
	answer := next[*cimd2.Packet](l)
	stamp, _ := answer.Get(cimd2.ServiceCentreTime)
	p := next[*cimd2.Packet](l)
	if p.Operation != cimd2.DeliverStatusReport {
		t.Fatalf("got %v", p)
	}
	got, _ := p.Get(cimd2.ServiceCentreTime)
	_, discharged := p.Get(cimd2.DischargeTime)
	_, coded := p.Get(cimd2.StatusError)
	if status, _ := p.Int(cimd2.StatusCode); got != stamp || stamp == "" || status != 4 || discharged || coded {
		t.Errorf("got %v, want the report of %s without 062 and 063", p, stamp)
	}
}

func TestReceiptBeforeResponse(t *testing.T) {
	t.Parallel()
	t.Run("smpp", func(t *testing.T) {
		s := start(t, Config{Receipts: Receipts{First: true}})
		l := raw(t, s, smpp.Protocol)
		l.login("ringway")
		for i := range uint32(3) {
			l.send(submitSM(2 + i))
			p := next[*smpp.DeliverSM](l)
			id, _ := p.TLVs.Text(smpp.TagReceiptedMessageID)
			if r := next[*smpp.SubmitSMResp](l); r.MessageID != id || id == "" {
				t.Errorf("receipt of %q, then a response with %q", id, r.MessageID)
			}
			l.send(&smpp.DeliverSMResp{Header: smpp.Header{Sequence: p.Sequence}})
		}
	})
	t.Run("cimd2", func(t *testing.T) {
		s := start(t, Config{Receipts: Receipts{First: true}})
		l := raw(t, s, cimd2.Protocol)
		l.login("ringway")
		l.send(packet(cimd2.Submit, 3, cimd2.DestinationAddress, subscriber, cimd2.StatusReportRequest, "14", cimd2.UserData, "hello"))
		report, response := next[*cimd2.Packet](l), next[*cimd2.Packet](l)
		a, _ := report.Get(cimd2.ServiceCentreTime)
		b, _ := response.Get(cimd2.ServiceCentreTime)
		if report.Operation != cimd2.DeliverStatusReport || response.Operation != cimd2.Submit.Response() || a != b || a == "" {
			t.Errorf("got %v, then %v", report, response)
		}
	})
	t.Run("on another bind", func(t *testing.T) {
		s := start(t, Config{Receipts: Receipts{First: true, Bind: "other"}})
		a, b := bind(t, s, smpp.Protocol, account), bind(t, s, smpp.Protocol, account)
		part := parts(t, "hello", 0)[0]
		part.Report = true
		for range 5 {
			answer := a.begin(part)
			r := get(t, b.receipts, "receipt")
			if o := get(t, answer, "outcome"); o.ID != r.ID {
				t.Errorf("receipt of %q, then a response with %q", r.ID, o.ID)
			}
		}
		none(t, a.receipts, 10*time.Millisecond)
	})
	t.Run("nobody to send it to", func(t *testing.T) {
		t.Parallel()
		s := start(t, Config{Receipts: Receipts{First: true}})
		cfg := account
		cfg.Mode = "transmitter"
		e := bind(t, s, smpp.Protocol, cfg)
		part := parts(t, "hello", 0)[0]
		part.Report = true
		begun := time.Now()
		if o := e.submit(part); o.Fate != smsc.Accepted || time.Since(begun) < holdLimit {
			t.Errorf("got %+v after %v, want it after %v", o, time.Since(begun), holdLimit)
		}
	})
}

func TestReceiptBinds(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, p smsc.Protocol) {
		part := parts(t, "hello", 0)[0]
		part.Report = true
		for _, which := range []string{"same", "other"} {
			s := start(t, Config{Receipts: Receipts{Bind: which}})
			a, b := bind(t, s, p, account), bind(t, s, p, account)
			want, empty := a, b
			if which == "other" {
				want, empty = b, a
			}
			for range 10 {
				id := a.submit(part).ID
				if r := get(t, want.receipts, which); r.ID != id {
					t.Errorf("%s: got %+v, want %q", which, r, id)
				}
			}
			none(t, empty.receipts, 10*time.Millisecond)
			// The only session gets it, whatever was wanted.
			want.events <- smsc.Logout{}
			get(t, want.ended, "logout")
			until(t, "counted out", func() bool { return s.Stats().Sessions == 1 })
			id := empty.submit(part).ID
			if r := get(t, empty.receipts, "receipt to the last session"); r.ID != id {
				t.Errorf("%s: got %+v, want %q", which, r, id)
			}
		}
	})
}

// A session that has no room keeps what is for it alone.
func TestReceiptWaitsForItsBind(t *testing.T) {
	s := start(t, Config{Receipts: Receipts{Bind: "same"}})
	l, other := raw(t, s, smpp.Protocol), bind(t, s, smpp.Protocol, account)
	l.login("ringway")
	l.send(submitSM(2), submitSM(3))
	var first *smpp.DeliverSM
	for range 3 { // two responses and a receipt, in any order
		packet, err := l.read(deadline)
		if err != nil {
			t.Fatal(err)
		}
		if p, ok := packet.(*smpp.DeliverSM); ok {
			first = p
		}
	}
	none(t, other.receipts, 50*time.Millisecond)
	l.send(&smpp.DeliverSMResp{Header: smpp.Header{Sequence: first.Sequence}})
	next[*smpp.DeliverSM](l)
}

func TestReceiptsTwiceEarlyLate(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, p smsc.Protocol) {
		const delay = 200 * time.Millisecond
		s := start(t, Config{Receipts: Receipts{Before: "enroute", Twice: true, Delay: delay}})
		e := bind(t, s, p, account)
		part := parts(t, "hello", 0)[0]
		part.Report = true
		begun := time.Now()
		id := e.submit(part).ID
		counts := map[smsc.ReceiptState]int{}
		for range 4 {
			r := get(t, e.receipts, "receipt")
			counts[r.State]++
			if r.ID != id {
				t.Errorf("got %+v, want id %q", r, id)
			}
		}
		if counts[smsc.ReceiptDelivered] != 2 || counts[smsc.ReceiptEnroute] != 2 || time.Since(begun) < delay {
			t.Errorf("got %v after %v", counts, time.Since(begun))
		}
		none(t, e.receipts, 10*time.Millisecond)
	})
	// One that is not final yet goes first.
	s := start(t, Config{Receipts: Receipts{Before: "accepted"}})
	e := bind(t, s, smpp.Protocol, account)
	part := parts(t, "hello", 0)[0]
	part.Report = true
	e.submit(part)
	if a, b := get(t, e.receipts, "first"), get(t, e.receipts, "second"); a.State != smsc.ReceiptAccepted || b.State != smsc.ReceiptDelivered {
		t.Errorf("got %v, %v", a, b)
	}
}

func TestReceiptChecks(t *testing.T) {
	for _, bad := range []Receipts{
		{ResponseID: "octal"},
		{ReceiptID: "Hex"},
		{Form: "x"},
		{Case: "x"},
		{Bind: "x"},
		{Before: "x"},
		{Omit: []string{"0x2"}},
		{IDDigits: -1},
		{Delay: -1},
	} {
		if _, err := New(Config{Receipts: bad}); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}
