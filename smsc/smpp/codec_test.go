package smpp

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/text"
)

func TestReadCutsTheStream(t *testing.T) {
	var stream []byte
	var n int
	for _, v := range vectors(t, "npm") {
		stream = append(stream, unhex(t, v.Hex)...)
		n++
	}
	r := bufio.NewReader(iotest.OneByteReader(bytes.NewReader(stream)))
	for i := range n {
		if _, err := Read(r); err != nil {
			t.Fatalf("PDU %d: %v", i, err)
		}
	}
	if _, err := Read(r); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
	for _, cut := range []int{1, 3, 4, 15, 20} {
		if _, err := Read(bufio.NewReader(bytes.NewReader(stream[:cut]))); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut at %d: %v", cut, err)
		}
	}
}

func TestReadGoesOnBehindABadPDU(t *testing.T) {
	bad := unhex(t, "0000001400010201000000000000000401020304")
	r := bufio.NewReader(bytes.NewReader(append(bad, unhex(t, "00000010000000150000000000000011")...)))
	_, err := Read(r)
	var syntax *smsc.SyntaxError
	if !errors.As(err, &syntax) || syntax.Fatal {
		t.Fatal(err)
	}
	if p, err := Read(r); err != nil || p.(PDU).Head().Sequence != 0x11 {
		t.Fatal(p, err)
	}
}

func TestAppendRefusesWhatSMPPCannotSay(t *testing.T) {
	long := strings.Repeat("x", 66)
	for name, p := range map[string]PDU{
		"source":        &SubmitSM{SourceAddr: long},
		"NUL":           &SubmitSM{SourceAddr: "a\x00b"},
		"text":          &SubmitSM{ShortMessage: make([]byte, 255)},
		"time":          &SubmitSM{ValidityPeriod: "tomorrow"},
		"TLV":           &SubmitSM{TLVs: TLVs{{TagMessagePayload, make([]byte, 65536)}}},
		"PDU":           &SubmitSM{TLVs: TLVs{{TagMessagePayload, make([]byte, 65535)}}},
		"message id":    &QuerySM{MessageID: long},
		"no dests":      &SubmitMulti{},
		"255 dests":     &SubmitMulti{Destinations: make([]Destination, 255)},
		"256 unsuccess": &SubmitMultiResp{Unsuccess: make([]Unsuccess, 256)},
		// What is read when it comes.
		"submit_sm_resp":    &SubmitSMResp{MessageID: long},
		"data_sm_resp":      &DataSMResp{MessageID: long},
		"deliver_sm_resp":   &DeliverSMResp{MessageID: "1"},
		"submit_multi_resp": &SubmitMultiResp{MessageID: long},
		"query_sm_resp":     &QuerySMResp{MessageID: long},
		"final_date":        &QuerySMResp{FinalDate: "tomorrow"},
		"transceiver_resp":  &BindTransceiverResp{SystemID: long[:16]},
		"transmitter_resp":  &BindTransmitterResp{SystemID: long[:16]},
		"receiver_resp":     &BindReceiverResp{SystemID: long[:16]},
		"deliver_sm from":   &DeliverSM{SourceAddr: long[:21]},
		"deliver_sm to":     &DeliverSM{DestinationAddr: long[:21]},
		"unsuccess address": &SubmitMultiResp{Unsuccess: []Unsuccess{{Addr: long[:21]}}},
		"deliver_sm at":     &DeliverSM{ScheduleDeliveryTime: "261122215509000+"},
		"deliver_sm until":  &DeliverSM{ValidityPeriod: "000001000000000R"},
		"replacing":         &DeliverSM{ReplaceIfPresentFlag: 1},
		"predefined":        &DeliverSM{SMDefaultMsgID: 1},
		"both bodies":       &SubmitSM{ShortMessage: []byte("x"), TLVs: TLVs{{TagMessagePayload, []byte("y")}}},
		"message_state":     &DeliverSM{TLVs: TLVs{{TagMessageState, make([]byte, 5)}}},
		"sar_msg_ref_num":   &SubmitSM{TLVs: TLVs{{0x1400, nil}, {TagSarMsgRefNum, make([]byte, 1)}}},
		"congestion_state":  &SubmitSMResp{TLVs: TLVs{{TagCongestionState, nil}}},
	} {
		before := []byte("before")
		if b, err := Append(before, p); err == nil || !strings.HasPrefix(err.Error(), "smpp: ") || string(b) != "before" {
			t.Errorf("%s: %v, %d octets", name, err, len(b))
		}
	}
	for _, p := range []PDU{ // the longest that may be
		&SubmitSMResp{MessageID: long[:64], TLVs: TLVs{{0x1400, make([]byte, 300)}}}, &BindTransceiverResp{SystemID: long[:15]},
		&DeliverSM{SourceAddr: long[:20], DestinationAddr: long[:20]}, &SubmitMultiResp{Unsuccess: []Unsuccess{{Addr: long[:20]}}},
		&QuerySMResp{MessageID: long[:64], FinalDate: "261122215509000+"},
	} {
		if b, err := Append(nil, p); err != nil || !reflect.DeepEqual(mustDecode(t, b), p) {
			t.Errorf("%+v: %v", p, err)
		}
	}
	list := &SubmitMulti{Destinations: []Destination{{List: "friends"}, {Addr: "1"}}}
	b, err := Append(nil, list)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := Decode(b); err != nil || p.(*SubmitMulti).Destinations[0].List != "friends" || p.(*SubmitMulti).Destinations[1].Addr != "1" {
		t.Errorf("%+v %v", p, err)
	}
}

func TestLimits(t *testing.T) {
	raw := func(digits, sm int) []byte { // written by hand: Append would refuse
		b := append(make([]byte, headerSize), 0, 1, 1)
		b = append(append(b, strings.Repeat("1", digits)...), 0)
		b = append(b, 1, 1, '2', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, byte(sm))
		b = append(b, make([]byte, sm)...)
		binary.BigEndian.PutUint32(b, uint32(len(b)))
		b[7] = byte(CommandSubmitSM)
		return b
	}
	for _, c := range []struct {
		digits, sm int
		want       Status
	}{{20, 254, OK}, {21, 0, RINVSRCADR}, {20, 255, RINVMSGLEN}} {
		_, err := Decode(raw(c.digits, c.sm))
		var syntax *smsc.SyntaxError
		if errors.As(err, &syntax) != (c.want != OK) || syntax != nil && syntax.Packet.(*Malformed).Reply != c.want {
			t.Errorf("%d digits, %d octets: %v, not %v", c.digits, c.sm, err, c.want)
		}
	}
	b := raw(64, 1)
	b[7] = byte(CommandDeliverSM) // an ESME takes what an SMSC sends
	if d := mustDecode(t, b).(*DeliverSM); len(d.SourceAddr) != 64 {
		t.Errorf("%q", d.SourceAddr)
	}
	for _, length := range []string{"0000000f", "00000003", "00010001"} { // said at once, not after the octets came
		_, err := Read(bufio.NewReader(bytes.NewReader(unhex(t, length))))
		var syntax *smsc.SyntaxError
		if !errors.As(err, &syntax) || !syntax.Fatal {
			t.Errorf("length %s: %v", length, err)
		}
	}
}

// TestEveryTruncationIsAnError: no prefix of a request is taken for the whole,
// and each names a status to answer.
func TestEveryTruncationIsAnError(t *testing.T) {
	for _, id := range []string{"submit_sm_tlv_misc", "bind_receiver", "submit_multi", "query_sm", "cancel_sm", "replace_sm", "data_sm", "alert_notification", "outbind"} {
		var whole []byte
		for _, v := range vectors(t, "npm") {
			if v.ID == id {
				whole = unhex(t, v.Hex)
			}
		}
		if whole == nil {
			t.Fatal(id)
		}
		accepted := 0
		for n := headerSize; n < len(whole); n++ {
			b := bytes.Clone(whole[:n])
			binary.BigEndian.PutUint32(b, uint32(n))
			_, err := Decode(b)
			var syntax *smsc.SyntaxError
			if err == nil {
				accepted++ // between TLVs
			} else if !errors.As(err, &syntax) || syntax.Packet.(*Malformed).Reply == OK {
				t.Errorf("%s cut at %d: %v", id, n, err)
			}
		}
		tlvs := 0
		if f := reflect.ValueOf(mustDecode(t, whole)).Elem().FieldByName("TLVs"); f.IsValid() {
			tlvs = f.Len()
		}
		if accepted != tlvs {
			t.Errorf("%s: %d prefixes accepted, not %d", id, accepted, tlvs)
		}
	}
}

func mustDecode(t testing.TB, b []byte) PDU {
	t.Helper()
	p, err := Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func seeds(f *testing.F) {
	for _, producer := range []string{"npm", "malformed"} {
		for _, v := range vectors(f, producer) {
			f.Add(unhex(f, v.Hex))
		}
	}
	long := strings.Repeat("7", 300)
	for _, p := range []PDU{ // longer than what is sent may be
		&SubmitSMResp{MessageID: long}, &DeliverSMResp{MessageID: long}, &QuerySMResp{MessageID: long, FinalDate: "now"}, &BindTransceiverResp{SystemID: long},
		&DeliverSM{SourceAddr: long[:60], TLVs: TLVs{{TagMessageState, make([]byte, 5)}}}, &DeliverSM{ScheduleDeliveryTime: "261122215509000+"}, &SubmitMultiResp{Unsuccess: []Unsuccess{{Addr: long[:60]}}},
	} {
		b, err := writeBack(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
}

// writeBack is Append with the bounds of reading: it writes whatever was read.
func writeBack(p PDU) ([]byte, error) {
	w := begin(nil, p.Command(), p.Head())
	w.lenient = true
	w.walk(p)
	return w.end(nil, p.Command(), p.Head().Status)
}

// FuzzDecode: what is accepted can be written back, and then means the same, and
// Append writes it as well or refuses it because it may not be sent; as a message it goes through the ESME's machine, whatever its SMSC's quirks are.
func FuzzDecode(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Decode(bytes.Clone(b))
		if err != nil {
			var syntax *smsc.SyntaxError
			if !errors.As(err, &syntax) || syntax.Packet.(*Malformed).Reply == OK {
				t.Fatalf("%v says nothing to answer", err)
			}
			return
		}
		again, err := writeBack(p)
		if err != nil {
			t.Fatalf("%+v: %v", p, err)
		}
		if strict, err := Append(nil, p); err == nil && !bytes.Equal(strict, again) {
			t.Fatalf("%+v\nis sent as %x, not %x", p, strict, again)
		}
		if q := mustDecode(t, again); !reflect.DeepEqual(p, q) {
			t.Fatalf("%+v\nbecomes %+v", p, q)
		}
		third, err := writeBack(mustDecode(t, again))
		if err != nil || !bytes.Equal(again, third) {
			t.Fatalf("%x\nis written %x: %v", again, third, err)
		}
		for _, q := range []smsc.Quirks{
			{ReceiptIDs: smsc.IDHexToDecimal}, {ReceiptIDs: smsc.IDDecimalToHex, Packed: true}, {Alphabet: smsc.AlphabetLatin1, Numbers: smsc.NumbersPlain},
		} {
			m := NewMachine(quirky(q))
			m.Handle(smsc.Connected{}, nil)
			m.Handle(smsc.Received{Packet: &BindTransceiverResp{Header: Header{Sequence: 1}}}, nil)
			m.Handle(smsc.Received{Packet: p}, nil)
			m.Handle(smsc.Accept{Ref: 1}, nil)
		}
	})
}

// FuzzReceipt: any text is read without harm, and what formatReceipt writes is
// read as it was meant.
func FuzzReceipt(f *testing.F) {
	f.Add("id:a1 sub:001 dlvrd:001 submit date:2611221000 done date:2611221001 stat:DELIVRD err:000 text:Hello", "id: stat:", byte(3))
	f.Add("stat:DELETED,err:001;id:42 done_date:2611221001\r\n\x00", "text", byte(0))
	f.Fuzz(func(t *testing.T, s, body string, state byte) {
		if w := parseReceipt(s); len(w.id) > len(s) || len(w.err) > len(s) || w.whole && w.id == "" {
			t.Fatalf("%q: %+v", s, w)
		}
		data, ok := text.EncodeGSM7(body)
		if !ok {
			data = []byte(body)
		}
		want := smsc.Receipt{ID: "0123456789", State: smsc.ReceiptState(state) % (smsc.ReceiptRejected + 1), Code: "027"}
		octets := formatReceipt(want, smsc.Part{Data: data}, time.Unix(0, 0), time.Unix(1, 0))
		w := parseReceipt(string(octets))
		if w.id != want.ID || w.state != want.State || w.err != want.Code || !w.whole {
			t.Fatalf("%q: %+v", octets, w)
		}
	})
}

// FuzzRead: any stream ends in an error, never in a panic or a loop.
func FuzzRead(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bufio.NewReader(bytes.NewReader(b))
		for read := 0; ; read++ {
			_, err := Read(r)
			var syntax *smsc.SyntaxError
			if err != nil && (!errors.As(err, &syntax) || syntax.Fatal) {
				return
			}
			if read > len(b)/headerSize {
				t.Fatalf("%d PDUs in %d octets", read, len(b))
			}
		}
	})
}
