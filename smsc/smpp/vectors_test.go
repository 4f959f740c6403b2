package smpp

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/text"
)

type vector struct {
	ID        string
	Hex       string
	Command   string
	Fields    map[string]any
	Malformed bool `json:"intentionally_malformed"`
	CheckedBy struct {
		Decoded map[string]any
	} `json:"checked_by"`
}

func vectors(t testing.TB, producer string) []vector {
	t.Helper()
	b, err := os.ReadFile("testdata/smpp_" + producer + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var f struct {
		Count   int
		Vectors []vector
	}
	if err := json.Unmarshal(b, &f); err != nil {
		t.Fatal(err)
	}
	if len(f.Vectors) == 0 || len(f.Vectors) != f.Count {
		t.Fatalf("%s: %d vectors, not %d", producer, len(f.Vectors), f.Count)
	}
	return f.Vectors
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// goNames: the specification's field names and those of the structs.
var goNames = map[string]string{
	"system_id": "SystemID", "password": "Password", "system_type": "SystemType", "interface_version": "InterfaceVersion",
	"addr_ton": "AddrTON", "addr_npi": "AddrNPI", "address_range": "AddressRange",
	"service_type": "ServiceType", "source_addr_ton": "SourceAddrTON", "source_addr_npi": "SourceAddrNPI", "source_addr": "SourceAddr",
	"dest_addr_ton": "DestAddrTON", "dest_addr_npi": "DestAddrNPI", "destination_addr": "DestinationAddr",
	"esm_class": "ESMClass", "protocol_id": "ProtocolID", "priority_flag": "PriorityFlag",
	"schedule_delivery_time": "ScheduleDeliveryTime", "validity_period": "ValidityPeriod",
	"registered_delivery": "RegisteredDelivery", "replace_if_present_flag": "ReplaceIfPresentFlag",
	"data_coding": "DataCoding", "sm_default_msg_id": "SMDefaultMsgID", "short_message": "ShortMessage",
	"message_id": "MessageID", "final_date": "FinalDate", "message_state": "MessageState", "error_code": "ErrorCode",
	"esme_addr_ton": "ESMEAddrTON", "esme_addr_npi": "ESMEAddrNPI", "esme_addr": "ESMEAddr",
	"command_status": "Status", "sequence_number": "Sequence",
}

var tlvNames = map[string]Tag{
	"sc_interface_version": TagSCInterfaceVersion, "message_payload": TagMessagePayload, "sar_msg_ref_num": TagSarMsgRefNum,
	"sar_total_segments": TagSarTotalSegments, "sar_segment_seqnum": TagSarSegmentSeqnum,
	"user_message_reference": TagUserMessageReference, "source_port": TagSourcePort, "dest_port": TagDestinationPort,
	"privacy_indicator": TagPrivacyIndicator, "payload_type": TagPayloadType, "language_indicator": TagLanguageIndicator,
	"ms_validity": TagMSValidity, "callback_num": TagCallbackNum, "alert_on_message_delivery": TagAlertOnMessageDelivery,
	"more_messages_to_send": TagMoreMessagesToSend, "receipted_message_id": TagReceiptedMessageID, "message_state": TagMessageState,
	"network_error_code": TagNetworkErrorCode, "delivery_failure_reason": TagDeliveryFailureReason,
	"ms_availability_status": TagMSAvailabilityStatus,
}

// show makes a field comparable with what a vector says.
func show(v reflect.Value) string {
	if v.Kind() == reflect.Slice {
		return hex.EncodeToString(v.Bytes())
	}
	if v.CanUint() {
		return strconv.FormatUint(v.Uint(), 10)
	}
	return v.String()
}

// want is show's counterpart for a value of npm's fields.
func want(t *testing.T, v any) string {
	switch v := v.(type) {
	case string:
		return v
	case float64:
		return strconv.Itoa(int(v))
	case map[string]any:
		return v["hex"].(string)
	case []any: // callback_num
		b := ""
		for _, c := range v[0].(map[string]any)["data"].([]any) {
			b += fmt.Sprintf("%02x", int(c.(float64)))
		}
		return b
	}
	t.Fatalf("unexpected %T", v)
	return ""
}

func TestNpmVectorsDecodeToTheirFields(t *testing.T) {
	for _, v := range vectors(t, "npm") {
		t.Run(v.ID, func(t *testing.T) {
			p, err := Decode(unhex(t, v.Hex))
			if err != nil {
				t.Fatal(err)
			}
			if p.Command().String() != v.Command {
				t.Errorf("command %v, not %v", p.Command(), v.Command)
			}
			s := reflect.ValueOf(p).Elem()
			var tlvs TLVs
			if f := s.FieldByName("TLVs"); f.IsValid() {
				tlvs = f.Interface().(TLVs)
			}
			given, tlvsGiven := map[string]bool{"ShortMessage": false}, 0
			for name, value := range v.Fields {
				f := s.FieldByName(goNames[name])
				switch {
				case name == "dest_address":
					wantDest := []Destination{
						{TON: 1, NPI: 1, Addr: "358407654321", flag: 1},
						{TON: 1, NPI: 1, Addr: "358407654322", flag: 1},
						{List: "mylist", flag: 2},
					}
					if got := p.(*SubmitMulti).Destinations; !slices.Equal(got, wantDest) {
						t.Errorf("destinations %+v", got)
					}
					given["Destinations"] = true
				case name == "unsuccess_sme":
					if got := p.(*SubmitMultiResp).Unsuccess; !slices.Equal(got, []Unsuccess{{1, 1, "358407654322", RINVDSTADR}}) {
						t.Errorf("unsuccess %+v", got)
					}
					given["Unsuccess"] = true
				case f.IsValid():
					given[goNames[name]] = true
					if str, ok := value.(string); ok && name == "short_message" {
						c, _ := ParseDataCoding(uint8(s.FieldByName("DataCoding").Uint()))
						if got := text.Decode(c, f.Bytes()); got != str {
							t.Errorf("text %q, not %q", got, str)
						}
					} else if got := show(f); got != want(t, value) {
						t.Errorf("%s is %s, not %s", name, got, want(t, value))
					}
				default:
					tag, ok := tlvNames[name]
					if !ok {
						t.Fatalf("field %s is not known to this test", name)
					}
					tlvsGiven++
					var got string
					b, _ := tlvs.Get(tag)
					switch value.(type) {
					case string:
						got, _ = tlvs.Text(tag)
					case float64:
						if n, ok := tlvs.Uint16(tag); ok {
							got = strconv.Itoa(int(n))
						} else if n, ok := tlvs.Uint8(tag); ok {
							got = strconv.Itoa(int(n))
						}
					default:
						got = hex.EncodeToString(b)
					}
					if got != want(t, value) {
						t.Errorf("TLV %s is %s, not %s", name, got, want(t, value))
					}
				}
			}
			if len(tlvs) != tlvsGiven {
				t.Errorf("%d TLVs, not %d", len(tlvs), tlvsGiven)
			}
			for i := range s.NumField() { // what is not given is zero
				name := s.Type().Field(i).Name
				if name != "Header" && name != "TLVs" && !given[name] && !s.Field(i).IsZero() {
					t.Errorf("%s is %v, not zero", name, s.Field(i))
				}
			}
		})
	}
}

// TestCapturesDecodeAsTsharkDoes compares with an independent decoder.
func TestCapturesDecodeAsTsharkDoes(t *testing.T) {
	for _, producer := range []string{"npm", "netsmpp", "kannel", "jsmpp"} {
		for _, v := range vectors(t, producer) {
			if v.Malformed {
				continue
			}
			t.Run(v.ID, func(t *testing.T) {
				b := unhex(t, v.Hex)
				p, err := Decode(b)
				if err != nil {
					t.Fatal(err)
				}
				s := reflect.ValueOf(p).Elem()
				number := func(name string) uint64 {
					str, _ := v.CheckedBy.Decoded["smpp."+name].(string)
					n, _ := strconv.ParseUint(str, 0, 32)
					return n
				}
				if n := number("command_id"); n != uint64(p.Command()) {
					t.Errorf("command %v, not %x", p.Command(), n)
				}
				for key, value := range v.CheckedBy.Decoded {
					name := strings.TrimPrefix(key, "smpp.")
					str, isText := value.(string)
					f := s.FieldByName(goNames[name])
					switch {
					case name == "message":
						if got := show(s.FieldByName("ShortMessage")); got != strings.ReplaceAll(str, ":", "") {
							t.Errorf("short_message %s, not %s", got, str)
						}
					case name == "esm.submit.msg_mode" && isText:
						wantClass := number(name) | number("esm.submit.msg_type")<<2 | number("esm.submit.features")<<6
						if got := s.FieldByName("ESMClass").Uint(); got != wantClass {
							t.Errorf("esm_class %x, not %x", got, wantClass)
						}
					case name == "regdel.receipt" && isText:
						wantReg := number(name) | number("regdel.acks")<<2 | number("regdel.notif")<<4
						if got := s.FieldByName("RegisteredDelivery").Uint(); got != wantReg {
							t.Errorf("registered_delivery %x, not %x", got, wantReg)
						}
					case name == "opt_params":
						compareTLVs(t, s.FieldByName("TLVs").Interface().(TLVs), value)
					case name == "command_id" || strings.HasPrefix(name, "esm.submit.") || strings.HasPrefix(name, "regdel."): // above
					case name == "data_coding_tree" || name == "message_text": // what tshark makes of data_coding and message
					case name == "command_length":
						if n := number(name); n != uint64(len(b)) {
							t.Errorf("%d octets, not %s", len(b), str)
						}
					case name == "sm_length":
						if n := number(name); n != uint64(s.FieldByName("ShortMessage").Len()) {
							t.Errorf("short_message has %d octets, not %s", s.FieldByName("ShortMessage").Len(), str)
						}
					case name == "dlist":
						compareDestinations(t, p.(*SubmitMulti).Destinations, value.(map[string]any))
					case name == "dlist_resp":
						compareUnsuccess(t, p.(*SubmitMultiResp).Unsuccess, value.(map[string]any))
					case strings.HasSuffix(name, "_r"): // the relative times
						for i, str := range words(value) {
							name := strings.TrimSuffix(name, "_r")
							if i == 1 { // tshark names both times of a submit_multi alike
								name = "validity_period"
							}
							compareTime(t, name, s.FieldByName(goNames[name]).String(), func(w smsc.When) bool {
								after, err := time.ParseDuration(str + "s")
								return err == nil && w.At.IsZero() && w.After == after
							}, str)
						}
					case strings.HasSuffix(name, "_time") || strings.HasSuffix(name, "_period") || strings.HasSuffix(name, "_date"):
						compareTime(t, name, f.String(), func(w smsc.When) bool {
							at, err := time.Parse("Jan _2, 2006 15:04:05.000000000 MST", str)
							return err == nil && w.After == 0 && w.At.Equal(at)
						}, str)
					case !f.IsValid() || !isText:
						t.Errorf("%s is %v: not known to this test", name, value)
					case f.CanUint():
						if f.Uint() != number(name) {
							t.Errorf("%s is %d, not %s", name, f.Uint(), str)
						}
					case f.String() != strings.TrimPrefix(str, "(Default)"):
						t.Errorf("%s is %q, not %q", name, f, str)
					}
				}
				again, err := Append(nil, p)
				if err != nil {
					t.Fatal(err)
				}
				if v.ID == "perl_submit_sm_resp_err" { // not canonical: an empty message_id in a refusal
					b = append([]byte{0, 0, 0, 16}, b[4:16]...)
				}
				if !bytes.Equal(again, b) {
					t.Errorf("re-encodes to\n%x, not\n%x", again, b)
				}
			})
		}
	}
}

// words are the values of a field that stands once or several times.
func words(v any) (all []string) {
	if s, ok := v.(string); ok {
		return []string{s}
	}
	list, _ := v.([]any)
	for _, e := range list {
		all = append(all, e.(string))
	}
	return all
}

func compareTime(t *testing.T, name, got string, is func(smsc.When) bool, want string) {
	t.Helper()
	if w, ok := ParseTime(got); !ok || !is(w) {
		t.Errorf("%s %q is %v, not %s", name, got, w, want)
	}
}

// compareDestinations expects addresses before lists, as in all that is captured.
func compareDestinations(t *testing.T, got []Destination, tshark map[string]any) {
	t.Helper()
	var a, b []string
	ton, npi := words(tshark["smpp.dest_addr_ton"]), words(tshark["smpp.dest_addr_npi"])
	for i, addr := range words(tshark["smpp.destination_addr"]) {
		a = append(a, fmt.Sprint(ton[i], npi[i], addr))
	}
	a = append(a, words(tshark["smpp.dl_name"])...)
	for _, d := range got {
		if d.isList() {
			b = append(b, d.List)
		} else {
			b = append(b, fmt.Sprintf("0x%02x0x%02x%s", d.TON, d.NPI, d.Addr))
		}
	}
	if !slices.Equal(a, b) {
		t.Errorf("destinations %v, not %v", b, a)
	}
}

func compareUnsuccess(t *testing.T, got []Unsuccess, tshark map[string]any) {
	t.Helper()
	var a, b []string
	ton, npi, status := words(tshark["smpp.dest_addr_ton"]), words(tshark["smpp.dest_addr_npi"]), words(tshark["smpp.error_status_code"])
	for i, addr := range words(tshark["smpp.destination_addr"]) {
		a = append(a, fmt.Sprint(ton[i], npi[i], addr, status[i]))
	}
	for _, u := range got {
		b = append(b, fmt.Sprintf("0x%02x0x%02x%s0x%08x", u.TON, u.NPI, u.Addr, uint32(u.Status)))
	}
	if !slices.Equal(a, b) {
		t.Errorf("unsuccess %v, not %v", b, a)
	}
}

func compareTLVs(t *testing.T, got TLVs, tshark any) {
	t.Helper()
	params := tshark.(map[string]any)["smpp.opt_param"]
	list, ok := params.([]any)
	if !ok {
		list = []any{params}
	}
	if len(got) != len(list) {
		t.Fatalf("%d TLVs, not %d", len(got), len(list))
	}
	for i, p := range list {
		compareTLV(t, got[i], p.(map[string]any))
	}
}

// compareTLV compares a value in the way in which tshark shows it.
func compareTLV(t *testing.T, got TLV, tshark map[string]any) {
	t.Helper()
	shown := 0
	for key, value := range tshark {
		str := value.(string)
		number := func(b []byte) bool {
			n, err := strconv.ParseUint(str, 0, 64)
			var v uint64
			for _, c := range b {
				v = v<<8 | uint64(c)
			}
			return err == nil && v == n
		}
		var same bool
		name := strings.ToLower(strings.TrimPrefix(key, "smpp."))
		switch name {
		case "opt_param_tag":
			same = str == fmt.Sprintf("0x%04x", uint16(got.Tag))
		case "opt_param_len":
			same = str == strconv.Itoa(len(got.Value))
		case "network_error.type":
			same = got.Tag == TagNetworkErrorCode && number(got.Value[:1])
			shown++
		case "network_error.code":
			same = got.Tag == TagNetworkErrorCode && number(got.Value[1:])
		case "callback_num":
			same = got.Tag == TagCallbackNum && str == "" // it shows nothing of it
			shown++
		case "receipted_message_id":
			text, _ := TLVs{got}.Text(TagReceiptedMessageID)
			same = text == str
			shown++
		case "message_payload":
			same = got.Tag == TagMessagePayload && hex.EncodeToString(got.Value) == strings.ReplaceAll(str, ":", "")
			shown++
		default:
			same = strings.TrimSuffix(name, "_type") == strings.TrimSuffix(got.Tag.String(), "_type") && number(got.Value)
			shown++
		}
		if !same {
			t.Errorf("TLV %v %x: %s is %s", got.Tag, got.Value, key, str)
		}
	}
	if shown != 1 {
		t.Errorf("TLV %v: %d values in %v", got.Tag, shown, tshark)
	}
}

func TestKannelsMalformedPDUs(t *testing.T) {
	wantReply := map[string]Status{"kannel_unknown_cmd_unknown_00000033": RINVCMDID, "kannel_deliver_short_body_deliver_sm": RINVCMDLEN}
	for _, v := range vectors(t, "kannel") {
		if !v.Malformed {
			continue
		}
		_, err := Decode(unhex(t, v.Hex))
		var syntax *smsc.SyntaxError
		if !errors.As(err, &syntax) || syntax.Fatal {
			t.Fatalf("%s: %v", v.ID, err)
		}
		m := syntax.Packet.(*Malformed)
		if m.Reply != wantReply[v.ID] || m.Sequence == 0 {
			t.Errorf("%s: reply %v to %d", v.ID, m.Reply, m.Sequence)
		}
		delete(wantReply, v.ID)
	}
	if len(wantReply) > 0 {
		t.Errorf("missing: %v", wantReply)
	}
}

// TestMalformedReactions puts each malformed input on a server's session: bound
// unless the id says otherwise. The replies follow spec_reaction of the vectors.
func TestMalformedReactions(t *testing.T) {
	type reaction struct {
		replies string // hex, blank between PDUs; "submit": SubmitReceived instead
		closes  bool
	}
	reactions := map[string]reaction{
		"submit_before_bind":       {"00000010800000040000000400000002", false},
		"enquire_before_bind":      {"00000010800000150000000000000002", false},
		"bad_password":             {"00000010800000090000000e00000002", true},
		"cmdlen_15":                {"00000010800000000000000200000000", true},
		"cmdlen_0":                 {"00000010800000000000000200000000", true},
		"cmdlen_huge":              {"00000010800000000000000200000002", true},
		"cmdlen_64k_plus":          {"00000010800000000000000200000002", true},
		"unknown_cmd":              {"00000010800000000000000300000003", false},
		"reserved_cmd_with_body":   {"00000010800000000000000300000004", false},
		"unknown_resp":             {"", false},
		"resp_unknown_seq":         {"", false},
		"submit_truncated_cstring": {"00000010800000040000000200000006", false},
		"submit_sm_length_too_big": {"00000010800000040000000100000007", false},
		"submit_tlv_overrun":       {"0000001080000004000000c000000008", false},
		"submit_tlv_fragment":      {"0000001080000004000000c000000009", false},
		"submit_unknown_tlv":       {"submit", false},
		"submit_addr_too_long":     {"00000010800000040000000a0000000b", false},
		"submit_both_bodies":       {"0000001080000004000000c10000000c", false},
		"submit_payload_ok":        {"submit", false},
		"enquire_status_nonzero":   {"0000001080000015000000000000000e", false},
		"enquire_seq_zero":         {"00000010800000150000000000000000", false},
		"enquire_seq_high":         {"000000108000001500000000fffffff0", false},
		"enquire_with_body":        {"0000001080000015000000000000000f", false},
		"second_bind":              {"00000010800000090000000500000010", false},
		"split_bytes":              {"00000010800000150000000000000011", false},
		"two_in_one":               {"00000010800000150000000000000012 00000010800000150000000000000013", false},
	}
	all := vectors(t, "malformed")
	if len(all) != len(reactions) {
		t.Errorf("%d vectors, %d reactions", len(all), len(reactions))
	}
	for _, v := range all {
		t.Run(v.ID, func(t *testing.T) {
			expected, ok := reactions[v.ID]
			if !ok {
				t.Fatal("no reaction is written down for this vector")
			}
			m := NewServer(smsc.ServerConfig{SystemID: "SMSC"})
			m.Handle(smsc.Connected{}, nil)
			if !strings.Contains(v.ID, "before_bind") && v.ID != "bad_password" {
				m.Handle(smsc.Received{Packet: &BindTransceiver{Header: Header{Sequence: 1}, SystemID: "j"}}, nil)
				m.Handle(smsc.LoginResult{OK: true}, nil)
			}
			var replies []string
			closed := false
			r := bufio.NewReader(bytes.NewReader(unhex(t, v.Hex)))
			for !closed {
				p, err := Read(r)
				var do []smsc.Effect
				var syntax *smsc.SyntaxError
				switch {
				case err == nil:
					do = m.Handle(smsc.Received{Packet: p}, nil)
				case errors.As(err, &syntax):
					do = m.Handle(smsc.Garbled{Err: err}, nil)
				default:
					closed = true
				}
				for i := 0; i < len(do); i++ {
					switch e := do[i].(type) {
					case smsc.Write:
						replies = append(replies, hex.EncodeToString(e.Octets))
					case smsc.SubmitReceived:
						replies = append(replies, "submit")
					case smsc.LoginReceived:
						do = m.Handle(smsc.LoginResult{OK: e.Password != "wrong"}, do)
					case smsc.Close:
						closed = true
					}
				}
				if syntax != nil && syntax.Fatal {
					break
				}
			}
			if got := strings.Join(replies, " "); got != expected.replies {
				t.Errorf("replies %q, not %q", got, expected.replies)
			}
			if got := m.State() == "closed"; got != expected.closes {
				t.Errorf("closed: %v", got)
			}
		})
	}
}
