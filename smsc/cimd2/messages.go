package cimd2

import (
	"encoding/hex"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/text"
)

// Options are how an ESME writes a submit to this SMSC.
type Options struct {
	Validity time.Duration // where the part has none; 0: the SMSC's default
	Now      time.Time     // at the SMSC, in its zone; zero: not known
	Alphabet smsc.Alphabet // of user data (033)
	Numbers  smsc.Numbers
}

// NewSubmit makes the submit of a part; the machine sets its number. The error
// is a *Rejected: no SMSC could take the part.
func NewSubmit(part smsc.Part, o Options) (*Packet, error) {
	p := NewPacket(Submit, 0, 8)
	if e := p.submit(&part, &o, new(smsc.Texts)); e != nil {
		return nil, e
	}
	return p, nil
}

func (p *Packet) submit(part *smsc.Part, o *Options, texts *smsc.Texts) *Rejected {
	to := address(part.To, o.Numbers, texts)
	if part.To.TON == smsc.TONAlphanumeric || !isAddress(to) {
		return reject(ErrDestination, "destination %q is not 1 to 20 digits", to)
	}
	p.Add(DestinationAddress, to)
	if e := p.addOriginator(part.From, o.Numbers, texts); e != nil {
		return e
	}
	validity := o.Validity
	if part.Validity > 0 {
		validity = part.Validity
	}
	p.addValidity(validity, o.Now)
	if part.Report {
		p.AddInt(StatusReportRequest, reportFinal)
	} else {
		p.AddInt(StatusReportRequest, 0) // absent would mean the account's default
	}
	if part.More {
		p.AddInt(MoreMessages, 1)
	}
	return p.addUserData(part, o.Alphabet, texts)
}

func address(a smsc.Address, n smsc.Numbers, texts *smsc.Texts) string {
	if n == smsc.NumbersPlain || a.TON != smsc.TONInternational {
		return a.Digits
	}
	return texts.Join("+", a.Digits, "")
}

func (p *Packet) addOriginator(from smsc.Address, n smsc.Numbers, texts *smsc.Texts) *Rejected {
	switch {
	case from.Digits == "": // the account's own
		return nil
	case from.TON != smsc.TONAlphanumeric:
		number := address(from, n, texts)
		if !isAddress(number) {
			return reject(ErrOriginatorUsage, "originator %q is not at most 20 digits", from)
		}
		p.Add(OriginatingAddress, number)
		return nil
	}
	for _, c := range from.Digits {
		if c < ' ' || c > '~' {
			return reject(ErrAlphanumericData, "alphanumeric originator %q holds %q, which is not in ASCII", from, c)
		}
	}
	if len(from.Digits) > 11 {
		return reject(ErrAlphanumericData, "alphanumeric originator %q has more than 11 characters", from)
	}
	p.Add(AlphanumericOriginator, from.Digits)
	return nil
}

// leastDate is the shortest validity that goes as a date. It is cut to a second, and
// the SMSC's clock, if it told us what it shows, may be another one ahead of now: what
// has passed already would be refused for good.
const leastDate = 3 * time.Second

// addValidity adds 050, or 051 where 050 cannot say it nearly: its steps are
// 5 minutes to weeks, and it would be more than a tenth too long.
func (p *Packet) addValidity(d time.Duration, now time.Time) {
	if d <= 0 {
		return
	}
	code := ValidityCode(d)
	if excess := Validity(code) - d; !now.IsZero() && (excess > d/10 || excess < 0) {
		p.AddTime(ValidityAbsolute, now.Add(max(d, leastDate)))
		return
	}
	p.AddInt(ValidityRelative, code)
}

// addUserData adds 030, 032 and 033 or 034. Latin-1, for which GSM has no data
// coding, is written as GSM7 or else UCS2.
func (p *Packet) addUserData(part *smsc.Part, a smsc.Alphabet, texts *smsc.Texts) *Rejected {
	coding, data := part.Coding, part.Data
	if coding == text.Latin1 {
		coding, data, _ = text.Encode(text.DecodeLatin1(data)) // always valid UTF-8
	}
	if limit := text.Limit(coding, len(part.UDH)); len(data) > limit || len(part.UDH) > 140 {
		return reject(ErrUserDataSyntax, "%d octets of user data in %v beside a header of %d, at most %d fit", len(data), coding, len(part.UDH), limit)
	}
	if len(part.UDH) > 0 {
		p.AddOctets(UserDataHeader, part.UDH)
	}
	if coding == text.GSM7 {
		p.Add(UserData, encodeText(data, a, texts))
	} else {
		p.AddOctets(UserDataBinary, data)
	}
	if dcs := dcsOf(coding, part.Class); dcs != 0 {
		p.AddInt(DataCodingScheme, dcs)
	}
	return nil
}

// dcsOf is a data coding scheme of the general group (3GPP 23.038 §4).
func dcsOf(c text.Coding, class int8) int {
	dcs := 0
	switch c {
	case text.Binary:
		dcs = 0x04
	case text.UCS2:
		dcs = 0x08
	}
	if class >= 0 && class <= 3 {
		dcs |= 0x10 | int(class)
	}
	return dcs
}

// ofDCS reads any data coding scheme (3GPP 23.038 §4); a reserved one means the
// default alphabet, and what is compressed is octets.
func ofDCS(dcs int) (c text.Coding, class int8) {
	class = -1
	switch group := dcs >> 4; {
	case group < 8:
		if dcs&0x10 != 0 {
			class = int8(dcs & 3)
		}
		if c = [4]text.Coding{text.GSM7, text.Binary, text.UCS2, text.GSM7}[dcs>>2&3]; dcs&0x20 != 0 {
			c = text.Binary
		}
	case group == 0xE:
		c = text.UCS2
	case group == 0xF:
		class = int8(dcs & 3)
		if dcs&4 != 0 {
			c = text.Binary
		}
	}
	return c, class
}

// ParseSubmit reads a submit that passed Check, at the SMSC: what it asks for
// its first destination; Ref is 0. The error is a *Rejected.
func ParseSubmit(p *Packet) (s smsc.Submission, err error) {
	if e := p.submitted(&s, new(smsc.Octets)); e != nil {
		return s, e
	}
	return s, nil
}

func (p *Packet) submitted(s *smsc.Submission, octets *smsc.Octets) *Rejected {
	s.Packet = p
	part := &s.Part
	if e := p.part(part, &standard, octets); e != nil {
		return e
	}
	if limit := text.Limit(part.Coding, len(part.UDH)); len(part.Data) > limit {
		return reject(ErrUserDataSyntax, "%d octets of user data in %v, at most %d fit", len(part.Data), part.Coding, limit)
	}
	mask := 0
	s.NoCancel = true
	for i := range p.Params {
		switch value := p.Params[i].Value; p.Params[i].Code {
		case ValidityRelative:
			s.Expires.After = relative(value)
			s.Part.Validity = s.Expires.After
		case ValidityAbsolute:
			s.Expires.At, _ = parseTime(value)
		case FirstDeliveryRelative:
			s.Schedule.After = relative(value)
		case FirstDeliveryAbsolute:
			s.Schedule.At, _ = parseTime(value)
		case StatusReportRequest:
			mask, _ = strconv.Atoi(value)
		case MoreMessages:
			s.Part.More = isOne(value)
		case CancelEnabled:
			s.NoCancel = !isOne(value)
		}
	}
	s.Wanted = wanted(mask)
	s.Part.Report = s.Wanted != 0
	return nil
}

func isOne(value string) bool {
	n, err := strconv.Atoi(value)
	return n == 1 && err == nil
}

// relative reads a TP-VP value, 0 where there is none.
func relative(value string) time.Duration {
	n, err := strconv.Atoi(value)
	if err != nil {
		return 0
	}
	return Validity(n)
}

// wanted is what a status report request asks for.
func wanted(mask int) (w smsc.Wanted) {
	if mask&ReportDelivered != 0 {
		w |= smsc.WantSuccess
	}
	if mask&(ReportExpired|ReportFailed|ReportCancelled|ReportDeleted) != 0 {
		w |= smsc.WantFailure
	}
	if mask&(ReportTemporaryError|ReportFirstTemporary) != 0 {
		w |= smsc.WantIntermediate
	}
	return w
}

// standard are no quirks.
var standard smsc.Quirks

// part reads addresses and user data. With an error part has
// all that could be read: malformed binary user data as it came.
func (p *Packet) part(part *smsc.Part, quirks *smsc.Quirks, octets *smsc.Octets) *Rejected {
	part.Class = -1
	var fault *Rejected
	var plain, packed string
	var isText, isBinary bool
	for _, q := range p.Params {
		switch q.Code {
		case DestinationAddress:
			if part.To.Digits == "" {
				part.To = parseNumber(q.Value)
			}
		case OriginatingAddress:
			if part.From.Digits == "" {
				part.From = parseNumber(q.Value)
			}
		case AlphanumericOriginator:
			part.From = smsc.Address{TON: smsc.TONAlphanumeric, Digits: q.Value}
		case DataCodingScheme:
			if dcs, err := strconv.Atoi(q.Value); err != nil || dcs < 0 || dcs > 255 {
				fault = reject(ErrCodingUsage, "data coding scheme %.40q is not 0 to 255", q.Value)
			} else {
				part.Coding, part.Class = ofDCS(dcs)
			}
		case UserDataHeader:
			udh, err := hex.DecodeString(q.Value)
			if err != nil || len(udh) == 0 || int(udh[0]) != len(udh)-1 {
				fault = reject(ErrUserDataSyntax, "user data header %.40q is not the hexadecimal form of one", q.Value)
			} else {
				part.UDH = udh
			}
		case UserData:
			plain, isText = q.Value, true
		case UserDataBinary:
			packed, isBinary = q.Value, true
		}
	}
	switch {
	case isText:
		part.Coding, part.Data = text.GSM7, decodeText(plain, quirks.Alphabet, octets)
	case isBinary:
		data, err := hex.DecodeString(packed)
		switch {
		case err != nil:
			fault = reject(ErrUserDataSyntax, "binary user data %.40q is not pairs of hexadecimal digits", packed)
			part.Coding, part.Data = text.Binary, []byte(packed)
		case part.Coding == text.GSM7:
			part.Data = unpack(data, len(part.UDH), quirks.TrailingAt)
		default:
			part.Data = data
		}
	}
	return fault
}

// unpack reads septets of the default alphabet in 034: peers do not agree, and
// packed is the more common reading. Beside a header of udh octets the septets
// begin at the next septet's border (3GPP 23.040 §9.2.3.24), behind fill bits.
// all takes a 00 at the end, where it may be padding, for a septet.
func unpack(data []byte, udh int, all bool) []byte {
	fill := (7 - udh*8%7) % 7
	if fill > 0 && len(data) > 0 {
		shifted := make([]byte, len(data))
		for i := range data {
			shifted[i] = data[i] >> fill
			if i+1 < len(data) {
				shifted[i] |= data[i+1] << (8 - fill)
			}
		}
		n := (8*len(data) - fill) / 7
		return text.Unpack(shifted, n)
	}
	if all {
		return text.Unpack(data, 8*len(data)/7)
	}
	return text.Unpack(data, -1)
}

// NewDeliver makes a deliver, at the SMSC; the machine sets its number. d.At is
// parameter 060, yymmddhhmmss. The error is a *Rejected: CIMD2 cannot say it. That
// is so with a sender that is a name, too: a deliver must have the number in 023,
// and no implementation has 027 in one.
func NewDeliver(d smsc.Deliver) (*Packet, error) {
	p := NewPacket(Deliver, 0, 6)
	if e := p.deliver(d); e != nil {
		return nil, e
	}
	return p, nil
}

func (p *Packet) deliver(d smsc.Deliver) *Rejected {
	if d.From.TON == smsc.TONAlphanumeric {
		return reject(ErrOriginatorUsage, "a deliver comes from a number, not from %q", d.From)
	}
	p.AddAddress(DestinationAddress, d.To)
	p.AddAddress(OriginatingAddress, d.From)
	p.Add(ServiceCentreTime, d.At)
	if e := p.addUserData(&d.Part, smsc.AlphabetGSM, new(smsc.Texts)); e != nil {
		return e
	}
	return p.check()
}

// ParseDeliver reads a deliver at the ESME, from an SMSC with that alphabet in
// 033. It takes whatever comes, because the SMSC would offer again what is not
// answered, for ever: what is malformed arrives as it is.
func ParseDeliver(p *Packet, a smsc.Alphabet) smsc.Deliver {
	return parseDeliver(p, &smsc.Quirks{Alphabet: a}, new(smsc.Octets))
}

func parseDeliver(p *Packet, quirks *smsc.Quirks, octets *smsc.Octets) smsc.Deliver {
	var d smsc.Deliver
	_ = p.part(&d.Part, quirks, octets)
	d.At, _ = p.Get(ServiceCentreTime)
	from, _ := p.Get(OriginatingAddress)
	const offset, prime = 14695981039346656037, 1099511628211 // FNV-1a
	hash := uint64(offset)
	for _, q := range p.Params {
		hash = (hash ^ uint64(q.Code)) * prime
		for i := range len(q.Value) {
			hash = (hash ^ uint64(q.Value[i])) * prime
		}
		hash = (hash ^ tab) * prime
	}
	key := make([]byte, 0, len(d.At)+len(from)+2+16)
	key = append(append(append(append(key, d.At...), '/'), from...), '/')
	d.Key = string(strconv.AppendUint(key, hash, 16))
	return d
}

// ID names a submitted message: destination without '+' (peers do not keep it),
// a slash, and the SMSC's timestamp. Two messages to one destination within a
// second have the same unless the SMSC spreads them.
func ID(destination, timestamp string) string {
	return strings.TrimPrefix(destination, "+") + "/" + timestamp
}

// timestampOf returns the SMSC's timestamp in an ID.
func timestampOf(id string) string { return id[strings.LastIndexByte(id, '/')+1:] }

// NewID is the id of a message to an address, submitted at that time, which the
// SMSC must make one of its kind by choosing another second.
func NewID(to smsc.Address, at time.Time, _ uint64) string {
	return ID(to.String(), Timestamp(at))
}

// NewStatusReport makes a status report, at the SMSC; the machine sets its
// number. r.ID is one of NewID, of a part that went to to; done may not be zero.
// The error is a *Rejected: CIMD2 cannot say it.
func NewStatusReport(r smsc.Receipt, to smsc.Address, done time.Time) (*Packet, error) {
	p := NewPacket(DeliverStatusReport, 0, 5)
	if e := p.report(r, to, done); e != nil {
		return nil, e
	}
	return p, nil
}

func (p *Packet) report(r smsc.Receipt, to smsc.Address, done time.Time) *Rejected {
	p.AddAddress(DestinationAddress, to)
	p.Add(ServiceCentreTime, timestampOf(r.ID))
	p.addStatus(r.State, r.Code, done)
	return p.check()
}

// addStatus adds 061, 062, and 063 unless done is zero.
func (p *Packet) addStatus(s smsc.ReceiptState, failure string, done time.Time) {
	p.AddInt(StatusCode, statusCode(s))
	digits, _, _ := strings.Cut(failure, " ")
	code, _ := strconv.Atoi(digits)
	p.AddInt(StatusError, code)
	if !done.IsZero() {
		p.AddTime(DischargeTime, done)
	}
}

// ParseStatusReport reads a status report at the ESME. Code is parameter 062
// with its meaning: "29 (absent subscriber)".
func ParseStatusReport(p *Packet) smsc.Receipt {
	to, _ := p.Get(DestinationAddress)
	at, _ := p.Get(ServiceCentreTime)
	r := smsc.Receipt{ID: ID(to, at)}
	if s, ok := p.Int(StatusCode); ok && s >= 0 && s < len(states) {
		r.State = states[s]
	}
	if e, ok := p.Int(StatusError); ok && e != 0 {
		r.Code = strconv.Itoa(e)
		if meaning, ok := statusErrors[e]; ok {
			r.Code += " (" + meaning + ")"
		}
	}
	status, _ := p.Get(StatusCode)
	failure, _ := p.Get(StatusError)
	done, _ := p.Get(DischargeTime)
	r.Key = strings.Join([]string{r.ID, status, failure, done}, "/")
	return r
}

// failure returns the error of a response: ok when it holds one other than 0.
// An unreadable code counts as a general system error.
func (p *Packet) failure() (e Error, explanation string, ok bool) {
	value, ok := p.Get(ErrorCode)
	if !ok {
		return 0, "", false
	}
	n, err := strconv.Atoi(value)
	if err != nil {
		return ErrSystem, "unreadable code " + strconv.Quote(value), true
	}
	explanation, _ = p.Get(ErrorText)
	return Error(n), text.DecodeLatin1([]byte(explanation)), n != 0
}

// addError makes a response negative.
func (p *Packet) addError(e Error) *Packet {
	p.AddInt(ErrorCode, int(e))
	p.Add(ErrorText, e.Text())
	return p
}

// Submitted is what a submit's response says about one destination.
type Submitted struct {
	To    string // as in 021
	ID    string // empty with an error
	Error Error
}

// ParseSubmitted reads the response to a submit: 021 with 060 or 900 behind it,
// once for each destination, in order. An error that stands before any 021
// concerns all: then there is one Submitted without To.
func ParseSubmitted(p *Packet) []Submitted {
	var all []Submitted
	for _, q := range p.Params {
		switch q.Code {
		case DestinationAddress:
			all = append(all, Submitted{To: q.Value})
		case ServiceCentreTime:
			if n := len(all); n > 0 {
				all[n-1].ID = ID(all[n-1].To, q.Value)
			}
		case ErrorCode:
			if len(all) == 0 {
				all = append(all, Submitted{})
			}
			if n, err := strconv.Atoi(q.Value); err == nil {
				all[len(all)-1].Error = Error(n)
			} else {
				all[len(all)-1].Error = ErrSystem
			}
		}
	}
	return all
}

const (
	day  = 24 * time.Hour
	week = 7 * day
)

// ValidityCode is the TP-VP value (3GPP 23.040 §9.2.3.12.1) of a validity,
// rounded up to what it can say: 5 minutes to 63 weeks.
func ValidityCode(d time.Duration) int {
	steps := func(d, unit time.Duration) int { return int((d + unit - 1) / unit) }
	switch {
	case d <= 5*time.Minute:
		return 0
	case d <= 12*time.Hour:
		return steps(d, 5*time.Minute) - 1
	case d <= day:
		return 143 + steps(d-12*time.Hour, 30*time.Minute)
	case d <= 30*day:
		return 166 + steps(d, day)
	case d <= 63*week:
		return 192 + steps(d, week)
	default:
		return 255
	}
}

// Validity is what a TP-VP value says; 0, the SMSC's default, for -1 and what
// is out of range.
func Validity(code int) time.Duration {
	v := time.Duration(code)
	switch {
	case v < 0 || v > math.MaxUint8:
		return 0
	case v <= 143:
		return (v + 1) * 5 * time.Minute
	case v <= 167:
		return 12*time.Hour + (v-143)*30*time.Minute
	case v <= 196:
		return (v - 166) * day
	default:
		return (v - 192) * week
	}
}
