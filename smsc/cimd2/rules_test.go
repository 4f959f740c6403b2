package cimd2

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/text"
	"pgregory.net/rapid"
)

// What other implementations sent follows the rules.
func TestVectorsFollowTheRules(t *testing.T) {
	for _, file := range []string{"cimd2_kannel.json", "cimd2_jcimd.json", "cimd2_misp.json"} {
		for _, v := range vectors(t, file) {
			if v.NotAPacket || v.ID == "kannel_bad_checksum_20" || v.Operation >= 50 {
				continue
			}
			packets, _ := read(v.octets(t))
			if err := packets[0].Check(); err != nil {
				t.Errorf("%s: %v: %v", v.ID, packets[0], err)
			}
		}
	}
}

// right and wrong values of each kind.
func values(r *parameter) (right, wrong []string) {
	switch r.kind {
	case kindInt:
		return []string{fmt.Sprint(r.low), fmt.Sprint(r.high), "00" + fmt.Sprint(r.high)}, []string{"", "x", "+1", "1 ", fmt.Sprint(r.low - 1), fmt.Sprint(r.high + 1)}
	case kindAddress:
		return []string{"1", "+358407654321", "12-34", "*#1", strings.Repeat("9", 20)}, []string{"", "+", "bob", strings.Repeat("9", 21)}
	case kindTime:
		return []string{"261122201500", "000229235959"}, []string{"", "261322201500", "2611222015", "26112220150x", "2611222015000"}
	case kindHex:
		return []string{"00", "aBcD"}, []string{"A", "0G", strings.Repeat("00", r.high/2+1)}
	default:
		right, wrong = []string{strings.Repeat("x", r.high)}, []string{strings.Repeat("x", r.high+1)}
		if r.low > 0 {
			wrong = append(wrong, "")
		}
		return right, wrong
	}
}

// Each parameter goes over the line as it is, and follows its rule or does not.
func TestEveryParameter(t *testing.T) {
	for c, r := range parameters {
		right, wrong := values(&r)
		for _, value := range right {
			p := NewPacket(Submit, 3, 1)
			p.Add(c, value)
			octets, err := p.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			if q, err := Decode(octets); err != nil || !q.same(p) {
				t.Errorf("%v: %v comes back as %v, %v", c, p, q, err)
			}
			if !r.fits(value) {
				t.Errorf("%v, %s: %q is right", c, r.name, value)
			}
		}
		for _, value := range wrong {
			if r.fits(value) {
				t.Errorf("%v, %s: %q is wrong", c, r.name, value)
			}
		}
	}
}

// A request is refused with the error of the parameter that is wrong or missing.
func TestCheck(t *testing.T) {
	for line, want := range map[string]Error{
		"01:001·010:u·011:p":                    0,
		"01:001·011:p":                          100,
		"01:001·010:u·011:p·012:10":             107,
		"01:001·010:u·011:p·019:129":            104,
		"02:001":                                0,
		"03:001·021:1·999:new":                  0, // not known: left alone
		"03:001·021:1·060:x":                    0, // not of a submit
		"03:001·033:x":                          300,
		"03:001·021:":                           300,
		"03:001·021:1·021:bob":                  300,
		"03:001·021:1·021:2·023:12345·027:Name": 0, // both originators are met with
		"03:001·021:1·023:x":                    306,
		"03:001·021:1·027:twelve chars":         322,
		"03:001·021:1·030:256":                  304,
		"03:001·021:1·032:0":                    302,
		"03:001·021:1·033:x·034:00":             303,
		"03:001·021:1·033:x·033:y":              2,
		"03:001·021:1·044:2":                    318,
		"03:001·021:1·050:256":                  305,
		"03:001·021:1·050:-1":                   0,
		"03:001·021:1·051:tomorrow":             305,
		"03:001·021:1·050:1·051:261122201500":   305,
		"03:001·021:1·052:256":                  307,
		"03:001·021:1·053:-2":                   308,
		"03:001·021:1·053:1·054:261122201500":   308,
		"03:001·021:1·055:2":                    309,
		"03:001·021:1·056:256":                  310,
		"03:001·021:1·058:2":                    311,
		"03:001·021:1·064:100":                  313,
		"03:001·021:1·065:00":                   0,
		"03:001·021:1·065:10":                   314,
		"03:001·021:1·067:10":                   312,
		"04:001·021:1·060:261122201500":         0,
		"04:001·060:261122201500":               400,
		"04:001·021:1":                          401,
		"05:001":                                0,
		"05:001·068:3":                          501,
		"06:001":                                602,
		"06:001·059:3":                          602,
		"06:001·059:0":                          601,
		"06:001·059:0·021:1":                    0,
		"06:001·059:0·021:1·060:261122201500":   603,
		"06:001·059:1":                          0,
		"06:001·059:1·021:1":                    603,
		"06:001·059:2·060:261122201500":         601,
		"06:001·059:2·021:1":                    600,
		"06:001·059:2·021:1·060:x":              600,
		"06:001·059:2·021:1·060:261122201500":   0,
		"08:001":                                800,
		"08:001·011:secret":                     0,
		"09:001":                                900,
		"09:001·500:500":                        900,
		"09:001·500:501":                        0,
		"20:000·021:1·023:2·060:261122201500":   0,
		"20:000·021:1·023:2":                    8,
		"23:000·021:1·060:261122201500·061:4·063:261122201500": 0,
		"23:000·021:1·060:261122201500·061:4":                  8,
		"40:001":                                               0,
		"77:001":                                               1,
		"03:001·021:1·023:+358407654321·050:011·067:9·044:1·056:0": 0,
	} {
		var r *Rejected
		if err := packet(t, line).Check(); want == 0 && err != nil || want != 0 && (!errors.As(err, &r) || r.Code != want) {
			t.Errorf("%s: %v, want error %d", line, err, want)
		}
	}
}

func TestTypedParameters(t *testing.T) {
	at := time.Date(2026, 11, 22, 20, 15, 0, 0, time.UTC)
	p := NewPacket(Deliver, 0, 5)
	p.AddAddress(DestinationAddress, smsc.ParseAddress("12345"))
	p.AddAddress(OriginatingAddress, to)
	p.AddTime(ServiceCentreTime, at)
	p.AddOctets(UserDataHeader, []byte{5, 0, 3, 0xAB, 2, 1})
	p.AddInt(DataCodingScheme, 8)
	if got := p.String(); got != `deliver:000 021:"12345" 023:"+358407654321" 060:"261122201500" 032:"050003AB0201" 030:"8"` {
		t.Error(got)
	}
	if a, ok := p.Address(OriginatingAddress); !ok || a != to {
		t.Error(a, ok)
	}
	if got, ok := p.Time(ServiceCentreTime); !ok || !got.Equal(at) {
		t.Error(got, ok)
	}
	if got, ok := p.Octets(UserDataHeader); !ok || !bytes.Equal(got, []byte{5, 0, 3, 0xAB, 2, 1}) {
		t.Error(got, ok)
	}
	if n, ok := p.Int(DataCodingScheme); !ok || n != 8 {
		t.Error(n, ok)
	}
	p = NewPacket(Deliver, 0, 4)
	p.Add(OriginatingAddress, "bob")
	p.Add(ServiceCentreTime, "now")
	p.Add(UserDataHeader, "x")
	p.Add(DataCodingScheme, "")
	_, a := p.Address(OriginatingAddress)
	_, b := p.Time(ServiceCentreTime)
	_, c := p.Octets(UserDataHeader)
	_, d := p.Int(DataCodingScheme)
	_, e := p.Int(WindowSize)
	if a || b || c || d || e {
		t.Error("what has not the type is read as if it had")
	}
	p = NewPacket(Login, 1, 1)
	p.Add(Password, "secret")
	if strings.Contains(p.String(), "secret") {
		t.Error("a password is shown")
	}
}

func TestChecksumIsTheSum(t *testing.T) {
	if got := checksum(bytes.Repeat([]byte{0xFF}, maxPacket)); got != 0 {
		t.Errorf("of %d octets FF: %02X", maxPacket, got)
	}
	rapid.Check(t, func(t *rapid.T) {
		octets := bytes.Repeat(rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "octets"), rapid.IntRange(1, 100).Draw(t, "times"))
		var want byte
		for _, o := range octets {
			want += o
		}
		if got := checksum(octets); got != want {
			t.Fatalf("%02X, want %02X", got, want)
		}
	})
}

// However a packet comes in pieces, through however small a buffer.
func TestReadInPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := NewPacket(Submit, 3, 1)
		p.Add(UserData, strings.Repeat("x", rapid.IntRange(0, 8000).Draw(t, "length")))
		octets, _ := p.Append([]byte("banner\r\n\x0203:001\t021:+358407654321\t023:12345"))
		octets, _ = p.Append(octets)
		r := bufio.NewReaderSize(&pieces{octets, rapid.IntRange(1, 5000).Draw(t, "piece")}, rapid.IntRange(16, 10000).Draw(t, "buffer"))
		for range 2 {
			if q, err := Read(r); err != nil || !q.(*Packet).same(p) {
				t.Fatalf("%.80v, %v", q, err)
			}
		}
	})
}

type pieces struct {
	octets []byte
	n      int
}

func (p *pieces) Read(into []byte) (int, error) {
	n := copy(into, p.octets[:min(p.n, len(p.octets))])
	p.octets = p.octets[n:]
	if n == 0 {
		return 0, errors.New("end")
	}
	return n, nil
}

// Every error code has words and a class; this is the whole table.
func TestErrorTable(t *testing.T) {
	want := map[smsc.Fate][]Error{
		smsc.Accepted:   {0, 700},
		smsc.Temporary:  {6, 9, 324, 710},
		smsc.Throttled:  {4, 10},
		smsc.Unknown:    {5},
		smsc.BadSession: {1, 100, 101, 102, 103, 104, 105, 106, 107, 108},
		smsc.Permanent: {
			2, 3, 7, 8, 300, 301, 302, 303, 304, 305, 306, 307, 308, 309, 310, 311, 312, 313, 314, 315, 316, 318, 319, 320, 321, 322, 323,
			400, 401, 500, 501, 502, 600, 601, 602, 603, 711, 712, 730, 800, 801, 900,
		},
	}
	n := 0
	words := map[string]Error{}
	for fate, codes := range want {
		for _, e := range codes {
			n++
			if _, known := errorTable[e]; !known || e.Fate() != fate {
				t.Errorf("%v: %v, want %v", e, e.Fate(), fate)
			}
			if other, taken := words[e.Text()]; taken || e.Text() == "" || e.Text() == Error(9999).Text() {
				t.Errorf("%v: %q, as %v", e, e.Text(), other)
			}
			words[e.Text()] = e
			if login := e >= 100 && e <= 108; e.Login() != login {
				t.Errorf("%v: is about the login: %v", e, e.Login())
			}
		}
	}
	if n != len(errorTable) {
		t.Errorf("%d codes here, %d in the table", n, len(errorTable))
	}
	if e := Error(12345); e.Fate() != smsc.Permanent || e.Text() != "unknown error code" || e.String() != "CIMD2 12345" {
		t.Errorf("%v: %v %q", e, e.Fate(), e.Text())
	}
}

// The relative form where it is near enough, else the absolute one, when the
// SMSC's time is known.
func TestValidityForm(t *testing.T) {
	now := time.Date(2026, 11, 22, 20, 15, 0, 0, time.FixedZone("SMSC", 2*3600))
	for d, want := range map[time.Duration][2]string{ // without and with the time
		0:                               {"", ""},
		time.Second:                     {"050:0", "051:261122201503"}, // the date must not have passed where the clock is another second ahead
		30 * time.Second:                {"050:0", "051:261122201530"},
		2 * time.Minute:                 {"050:0", "051:261122201700"},
		4*time.Minute + 50*time.Second:  {"050:0", "050:0"},
		5 * time.Minute:                 {"050:0", "050:0"},
		7 * time.Minute:                 {"050:1", "051:261122202200"},
		26 * time.Minute:                {"050:5", "051:261122204100"}, // 30 would be more than a tenth too long
		59*time.Minute + 59*time.Second: {"050:11", "050:11"},
		time.Hour:                       {"050:11", "050:11"},
		12*time.Hour + 10*time.Minute:   {"050:144", "050:144"},
		25 * time.Hour:                  {"050:168", "051:261123211500"},
		40 * day:                        {"050:198", "050:198"},
		63 * week:                       {"050:255", "050:255"},
		64 * week:                       {"050:255", "051:280213201500"},
	} {
		for i, now := range []time.Time{{}, now} {
			part := hello("x")
			part.Validity = d
			p, err := NewSubmit(part, Options{Now: now})
			if err != nil {
				t.Fatal(err)
			}
			var got string
			for _, q := range p.Params {
				if q.Code == ValidityRelative || q.Code == ValidityAbsolute {
					got += q.Code.String() + ":" + q.Value
				}
			}
			if got != want[i] {
				t.Errorf("%v: %q, want %q", d, got, want[i])
			}
		}
	}
}

func TestParseSubmit(t *testing.T) {
	at := time.Date(2026, 11, 22, 20, 15, 0, 0, time.UTC)
	for line, want := range map[string]smsc.Submission{
		"03:001·021:1": {NoCancel: true},
		"03:001·021:1·050:11·053:0·056:8·058:1": {
			Part: smsc.Part{Validity: time.Hour, Report: true}, Expires: smsc.When{After: time.Hour},
			Schedule: smsc.When{After: 5 * time.Minute}, Wanted: smsc.WantSuccess,
		},
		"03:001·021:1·051:261122201500·054:261122201500·056:62·044:1": {
			Part: smsc.Part{Report: true, More: true}, Expires: smsc.When{At: at}, Schedule: smsc.When{At: at},
			Wanted: smsc.WantSuccess | smsc.WantFailure, NoCancel: true,
		},
		"03:001·021:1·050:-1·056:65": {Part: smsc.Part{Report: true}, Wanted: smsc.WantIntermediate, NoCancel: true},
		"03:001·021:1·056:0":         {NoCancel: true},
	} {
		got, err := ParseSubmit(packet(t, line))
		if err != nil {
			t.Errorf("%s: %v", line, err)
		}
		if got.Expires != want.Expires || got.Schedule != want.Schedule || got.Wanted != want.Wanted || got.NoCancel != want.NoCancel ||
			got.Part.Report != want.Part.Report || got.Part.More != want.Part.More || got.Part.Validity != want.Part.Validity {
			t.Errorf("%s: %+v", line, got)
		}
	}
}

// The answer to several destinations pairs them by position.
func TestParseSubmitted(t *testing.T) {
	for line, want := range map[string]string{
		"53:001·021:1·060:2":                            "[{1 1/2 CIMD2 0}]",
		"53:001·021:+1·060:2·021:3·900:300·021:1·060:4": "[{+1 1/2 CIMD2 0} {3  CIMD2 300} {1 1/4 CIMD2 0}]",
		"53:001·900:301·901:x":                          "[{  CIMD2 301}]",
		"53:001·021:1·900:x":                            "[{1  CIMD2 6}]",
		"53:001":                                        "[]",
	} {
		if got := fmt.Sprint(ParseSubmitted(packet(t, line))); got != want {
			t.Errorf("%s: %s, want %s", line, got, want)
		}
	}
}

// An SMSC that takes 033 for Latin-1 or ASCII reads what was meant; what such
// an SMSC sends is read so as well.
func TestAlphabets(t *testing.T) {
	const sample = "a@_[]{}\\^~|$£é§ÄöΔ€¿\"\n"
	septets, ok := text.EncodeGSM7(sample)
	if !ok {
		t.Fatal("not in the alphabet")
	}
	for a, want := range map[smsc.Alphabet]string{
		smsc.AlphabetGSM:    `a_Oa_--_XX<_XX>_XX(_XX)_XX/_XX_gl_XX=_XX_!!$_L-_e'_so_A"_o"_gd_XXe_??"` + "\n",
		smsc.AlphabetLatin1: "a@_--[]{}\\^~|$\xA3\xE9\xA7\xC4\xF6_gd_XXe\xBF\"\n",
		smsc.AlphabetASCII:  `a@_--[]{}\^~|$_L-_e'_so_A"_o"_gd_XXe_??"` + "\n",
	} {
		if got := EncodeText(septets, a); got != want {
			t.Errorf("%d: %q, want %q", a, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		septets := rapid.SliceOf(rapid.ByteMax(0x7F)).Draw(t, "septets")
		for a := range smsc.Alphabet(4) { // one of them is none
			value := EncodeText(septets, a)
			if got := DecodeText(value, a); !bytes.Equal(got, septets) {
				t.Fatalf("%d: %X comes back as %X from %q", a, septets, got, value)
			}
			if strings.ContainsAny(value, "\x00\x02\x03\x09") {
				t.Fatalf("%d: %X is written as %q", a, septets, value)
			}
		}
	})
}

// Packed septets behind a header begin at a septet's border.
func TestPackedBehindHeader(t *testing.T) {
	udh := []byte{5, 0, 3, 7, 2, 1}
	packed := text.Pack(append([]byte{0, 0, 0, 0, 0, 0, 0}, "hellohello"...)) // 7 septets have room for 6 octets and a fill bit
	p := NewPacket(Deliver, 0, 2)
	p.AddOctets(UserDataHeader, udh)
	p.AddOctets(UserDataBinary, packed[6:])
	if d := ParseDeliver(p, smsc.AlphabetGSM); text.Decode(d.Coding, d.Data) != "hellohello" {
		t.Errorf("%q", text.Decode(d.Coding, d.Data))
	}
}

// Flash, binary, UCS2 and a header, as octets on the line.
func TestUserData(t *testing.T) {
	for want, change := range map[string]func(*smsc.Part){
		"·033:x·030:16":           func(p *smsc.Part) { p.Class = 0 },
		"·034:00FF·030:4":         func(p *smsc.Part) { p.Coding, p.Data = text.Binary, []byte{0, 0xFF} },
		"·034:00FF·030:21":        func(p *smsc.Part) { p.Coding, p.Class, p.Data = text.Binary, 1, []byte{0, 0xFF} },
		"·034:D83DDE00·030:8":     func(p *smsc.Part) { p.Coding, p.Data = text.UCS2, text.EncodeUCS2("😀") },
		"·034:0041·030:24":        func(p *smsc.Part) { p.Coding, p.Class, p.Data = text.UCS2, 0, text.EncodeUCS2("A") },
		"·032:050003070201·033:x": func(p *smsc.Part) { p.UDH = []byte{5, 0, 3, 7, 2, 1} },
		"·033:":                   func(p *smsc.Part) { p.Data = nil },
		"·044:1·033:x":            func(p *smsc.Part) { p.More = true },
	} {
		part := hello("x")
		change(&part)
		p, err := NewSubmit(part, Options{})
		if err != nil {
			t.Fatal(err)
		}
		octets, _ := p.Append(nil)
		if got := show(smsc.Write{Output: &smsc.Output{Octets: octets}}); got != "> 03:000·021:+358407654321·023:12345·056:0"+want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
