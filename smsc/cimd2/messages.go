package cimd2

import (
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/text"
)

// Rejected is why a submit was refused, by the rules for its parameters.
type Rejected struct {
	Code   Error
	Reason string
}

func (e *Rejected) Error() string { return fmt.Sprintf("cimd2: %s (error %d)", e.Reason, int(e.Code)) }

func reject(code Error, reason string, args ...any) error {
	return &Rejected{code, fmt.Sprintf(reason, args...)}
}

// NewSubmit makes the submit of a part; the machine sets its number. validity
// applies where the part has none. The error is a *Rejected: no SMSC could take
// the part.
func NewSubmit(part smsc.Part, validity time.Duration) (*Packet, error) {
	p := &Packet{Operation: Submit}
	if part.To.Digits == "" || !isNumber(part.To.Digits) || len(part.To.String()) > 20 {
		return nil, reject(ErrDestination, "destination %q is not 1 to 20 digits", part.To)
	}
	p.add(DestinationAddress, part.To.String())
	if err := p.addOriginator(part.From); err != nil {
		return nil, err
	}
	if part.Validity > 0 {
		validity = part.Validity
	}
	if validity > 0 {
		p.addInt(ValidityRelative, ValidityCode(validity))
	}
	if part.Report {
		p.addInt(StatusReportRequest, reportFinal)
	} else {
		p.addInt(StatusReportRequest, 0) // absent would mean the account's default
	}
	if part.More {
		p.addInt(MoreMessages, 1)
	}
	return p, p.addUserData(part)
}

func isNumber(digits string) bool {
	return strings.Trim(digits, "0123456789*#-") == ""
}

func (p *Packet) addOriginator(from smsc.Address) error {
	switch {
	case from.Digits == "": // the account's own
		return nil
	case from.TON != smsc.TONAlphanumeric:
		if !isNumber(from.Digits) || len(from.String()) > 20 {
			return reject(306, "originator %q is not at most 20 digits", from)
		}
		p.add(OriginatingAddress, from.String())
		return nil
	}
	for _, c := range from.Digits {
		if c < ' ' || c > '~' {
			return reject(322, "alphanumeric originator %q holds %q, which is not in ASCII", from, c)
		}
	}
	if len(from.Digits) > 11 {
		return reject(322, "alphanumeric originator %q has more than 11 characters", from)
	}
	p.add(AlphanumericOriginator, from.Digits)
	return nil
}

// addUserData adds 030, 032 and 033 or 034. Latin-1, for which GSM has no data
// coding, is written as GSM7 or else UCS2.
func (p *Packet) addUserData(part smsc.Part) error {
	coding, data := part.Coding, part.Data
	if coding == text.Latin1 {
		coding, data, _ = text.Encode(text.DecodeLatin1(data)) // always valid UTF-8
	}
	if limit := text.Limit(coding, len(part.UDH)); len(data) > limit || len(part.UDH) > 140 {
		return reject(ErrUserDataSyntax, "%d octets of user data in %v beside a header of %d, at most %d fit", len(data), coding, len(part.UDH), limit)
	}
	if len(part.UDH) > 0 {
		p.add(UserDataHeader, hexadecimal(part.UDH))
	}
	if coding == text.GSM7 {
		p.add(UserData, EncodeText(data))
	} else {
		p.add(UserDataBinary, hexadecimal(data))
	}
	if dcs := dcsOf(coding, part.Class); dcs != 0 {
		p.addInt(DataCodingScheme, dcs)
	}
	return nil
}

func hexadecimal(octets []byte) string { return strings.ToUpper(hex.EncodeToString(octets)) }

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
// default alphabet.
func ofDCS(dcs int) (c text.Coding, class int8) {
	class = -1
	switch group := dcs >> 4; {
	case group < 8:
		if dcs&0x10 != 0 {
			class = int8(dcs & 3)
		}
		c = [4]text.Coding{text.GSM7, text.Binary, text.UCS2, text.GSM7}[dcs>>2&3]
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

// ParseSubmit reads a submit at the SMSC. The error is a *Rejected. An absolute
// validity is relative to the SMSC's clock and is left out.
func ParseSubmit(p *Packet) (smsc.Part, error) {
	to := p.All(DestinationAddress)
	if len(to) == 0 || to[0] == "" {
		return smsc.Part{}, reject(ErrDestination, "no destination address")
	}
	if len(to) > 1 {
		return smsc.Part{}, reject(ErrDestinationCount, "%d destinations, one is supported", len(to))
	}
	if _, relative := p.Get(ValidityRelative); relative {
		if _, absolute := p.Get(ValidityAbsolute); absolute {
			return smsc.Part{}, reject(ErrValidityUsage, "both a relative and an absolute validity")
		}
	}
	_, plain := p.Get(UserData)
	if _, binary := p.Get(UserDataBinary); plain && binary {
		return smsc.Part{}, reject(ErrUserDataMix, "both text and binary user data")
	}
	part, err := p.part()
	if err != nil {
		return smsc.Part{}, err
	}
	if limit := text.Limit(part.Coding, len(part.UDH)); len(part.Data) > limit {
		return smsc.Part{}, reject(ErrUserDataSyntax, "%d octets of user data in %v, at most %d fit", len(part.Data), part.Coding, limit)
	}
	if v, ok := p.Int(ValidityRelative); ok {
		part.Validity = Validity(v)
	}
	mask, _ := p.Int(StatusReportRequest)
	part.Report = mask != 0
	more, _ := p.Int(MoreMessages)
	part.More = more == 1
	return part, nil
}

// part reads addresses and user data. With an error (a *Rejected) the part has
// all that could be read: malformed binary user data as it came.
func (p *Packet) part() (smsc.Part, error) {
	part := smsc.Part{Class: -1}
	var fault error
	to, _ := p.Get(DestinationAddress)
	part.To = smsc.ParseAddress(to)
	if from, ok := p.Get(OriginatingAddress); ok {
		part.From = smsc.ParseAddress(from)
	}
	if name, ok := p.Get(AlphanumericOriginator); ok {
		part.From = smsc.Address{TON: smsc.TONAlphanumeric, Digits: name}
	}
	if _, given := p.Get(DataCodingScheme); given {
		dcs, ok := p.Int(DataCodingScheme)
		if !ok || dcs < 0 || dcs > 255 {
			fault = reject(ErrCodingUsage, "data coding scheme is not 0 to 255")
		} else {
			part.Coding, part.Class = ofDCS(dcs)
		}
	}
	if value, ok := p.Get(UserDataHeader); ok {
		udh, err := hex.DecodeString(value)
		if err != nil || len(udh) == 0 || int(udh[0]) != len(udh)-1 {
			fault = reject(ErrUserDataSyntax, "user data header %.40q is not the hexadecimal form of one", value)
		} else {
			part.UDH = udh
		}
	}
	if value, ok := p.Get(UserDataBinary); ok {
		data, err := hex.DecodeString(value)
		switch {
		case err != nil:
			fault = reject(ErrUserDataSyntax, "binary user data %.40q is not pairs of hexadecimal digits", value)
			part.Coding, part.Data = text.Binary, []byte(value)
		case part.Coding == text.GSM7:
			part.Data = text.Unpack(data, -1) // peers do not agree; packed is the more common reading
		default:
			part.Data = data
		}
	}
	if value, ok := p.Get(UserData); ok {
		part.Coding, part.Data = text.GSM7, DecodeText(value)
	}
	return part, fault
}

// NewDeliver makes a deliver, at the SMSC; the machine sets its number. d.At is
// parameter 060, yymmddhhmmss.
func NewDeliver(d smsc.Deliver) (*Packet, error) {
	p := &Packet{Operation: Deliver}
	p.add(DestinationAddress, d.To.String())
	p.add(OriginatingAddress, d.From.String())
	p.add(ServiceCentreTime, d.At)
	return p, p.addUserData(d.Part)
}

// ParseDeliver reads a deliver at the ESME. It takes whatever comes, because
// the SMSC would offer again what is not answered, for ever: what is malformed
// arrives as it is.
func ParseDeliver(p *Packet) smsc.Deliver {
	part, _ := p.part()
	d := smsc.Deliver{Part: part}
	d.At, _ = p.Get(ServiceCentreTime)
	from, _ := p.Get(OriginatingAddress)
	h := fnv.New64a()
	for _, q := range p.Params {
		fmt.Fprintf(h, "%v:%s\t", q.Code, q.Value)
	}
	d.Key = fmt.Sprintf("%s/%s/%016x", d.At, from, h.Sum64())
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

// Timestamp writes a time as parameters do: yymmddhhmmss in the time's own zone.
func Timestamp(t time.Time) string { return t.Format("060102150405") }

// NewStatusReport makes a status report, at the SMSC; the machine sets its
// number. r.ID is one of NewID, of a part that went to to.
func NewStatusReport(r smsc.Receipt, to smsc.Address, done time.Time) *Packet {
	p := &Packet{Operation: DeliverStatusReport}
	p.add(DestinationAddress, to.String())
	p.add(ServiceCentreTime, timestampOf(r.ID))
	p.addInt(StatusCode, statusCode(r.State))
	digits, _, _ := strings.Cut(r.Code, " ")
	code, _ := strconv.Atoi(digits)
	p.addInt(StatusError, code)
	p.add(DischargeTime, Timestamp(done))
	return p
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

// newFailure makes a negative response.
func newFailure(to *Packet, operation Operation, e Error) *Packet {
	p := &Packet{Operation: operation, Number: to.Number}
	p.addInt(ErrorCode, int(e))
	p.add(ErrorText, e.Text())
	return p
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
