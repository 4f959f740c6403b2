package smpp

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/text"
)

// Bits of esm_class (SMPP v3.4 §5.2.12).
const (
	ESMClassUDHI           uint8 = 0x40 // short_message begins with a user data header
	esmTypeMask            uint8 = 0x3C
	esmTypeReceipt         uint8 = 0x04 // deliver_sm: SMSC delivery receipt
	esmTypeDeliveryAck     uint8 = 0x08
	esmTypeUserAck         uint8 = 0x10
	esmTypeIntermediate    uint8 = 0x20 // deliver_sm: intermediate notification
	registeredReceipt      uint8 = 0x01 // registered_delivery: on success and failure (§5.2.17)
	registeredMask         uint8 = 0x03
	registeredIntermediate uint8 = 0x10
	registeredReserved     uint8 = 0xE0
	classGroup             uint8 = 0x10 // GSM 03.38 general group with a message class
	gsmClassCodingGroup    uint8 = 0xF0 // GSM 03.38 data coding/message class group
	interfaceVersion       uint8 = 0x34
	interfaceVersion33     uint8 = 0x33
	maxRelativeValidity          = 99 * 365 * 24 * time.Hour
	day                          = 24 * time.Hour
	relativeValiditySuffix       = "000R"
)

// DataCoding returns the data_coding for a coding and a GSM message class, -1
// for none (SMPP v3.4 §5.2.19; with a class GSM 03.38 §4). Latin1 has no class.
func DataCoding(c text.Coding, class int8) uint8 {
	withClass := classGroup | uint8(class)&3
	switch {
	case c == text.Latin1:
		return 0x03
	case c == text.UCS2 && class < 0:
		return 0x08
	case c == text.UCS2:
		return 0x08 | withClass
	case c == text.Binary && class < 0:
		return 0x04
	case c == text.Binary:
		return 0x04 | withClass
	case class < 0:
		return 0x00
	}
	return withClass
}

// ParseDataCoding is the inverse of DataCoding. It takes 0x00 for the GSM
// default alphabet, IA5 for Latin1, of which it is a part, and alphabets that
// are not ours (Cyrillic, JIS, ...) for Binary.
func ParseDataCoding(dc uint8) (c text.Coding, class int8) {
	switch {
	case dc == 0x00:
		return text.GSM7, -1
	case dc == 0x01 || dc == 0x03:
		return text.Latin1, -1
	case dc == 0x08:
		return text.UCS2, -1
	case dc < 0x10:
		return text.Binary, -1
	case dc < 0x80: // general group, 0x40: marked for deletion
		class = -1
		if dc&0x10 != 0 {
			class = int8(dc & 3)
		}
		switch {
		case dc&0x20 != 0: // compressed
			return text.Binary, class
		case dc&0x0C == 0x04:
			return text.Binary, class
		case dc&0x0C == 0x08:
			return text.UCS2, class
		}
		return text.GSM7, class
	case dc >= gsmClassCodingGroup:
		if dc&0x04 != 0 {
			return text.Binary, int8(dc & 3)
		}
		return text.GSM7, int8(dc & 3)
	case dc >= 0xE0: // message waiting, UCS2
		return text.UCS2, -1
	}
	return text.GSM7, -1
}

// FormatValidity writes a validity_period in the relative format, rounded up to
// a second: "000001000000000R" is one day (SMPP v3.4 §7.1.1.2). 0 and less are
// empty. A month counts 30 days and a year 365.
func FormatValidity(d time.Duration) string {
	if d <= 0 {
		return ""
	}
	d = min((d + time.Second - 1).Truncate(time.Second), maxRelativeValidity)
	days := int(d / day)
	d %= day
	years, days := days/365, days%365
	months := min(days/30, 11)
	days = min(days-30*months, 31)
	return fmt.Sprintf("%02d%02d%02d%02d%02d%02d", years, months, days,
		d/time.Hour, d/time.Minute%60, d/time.Second%60) + relativeValiditySuffix
}

// ParseValidity reads a validity_period in the relative format. An empty one is
// 0, the SMSC's default. An absolute time is not relative to anything known
// here: ok is false, as for what breaks the format.
func ParseValidity(s string) (d time.Duration, ok bool) {
	if s == "" {
		return 0, true
	}
	if len(s) != timeSize-1 || s[15] != 'R' {
		return 0, false
	}
	for _, c := range []byte(s[:15]) { // the last three say nothing, and are 0
		if c < '0' || c > '9' {
			return 0, false
		}
	}
	units := [...]time.Duration{365 * day, 30 * day, day, time.Hour, time.Minute, time.Second}
	for i, u := range units {
		a, b := s[2*i]-'0', s[2*i+1]-'0'
		d += time.Duration(10*a+b) * u
	}
	return d, true
}

// setPart fills in what a part says, as the SMSC wants it. A part that exceeds
// short_message goes into message_payload, with LongPayload also one that exceeds
// what the radio carries. The error is a part that this SMSC cannot take.
func (p *SubmitSM) setPart(part *smsc.Part, q *smsc.Quirks) error {
	p.ServiceType = q.ServiceType
	p.SourceAddrTON, p.SourceAddrNPI, p.SourceAddr = writeAddress(q.Numbers, part.From)
	p.DestAddrTON, p.DestAddrNPI, p.DestinationAddr = writeAddress(q.Numbers, part.To)
	p.ValidityPeriod = FormatValidity(part.Validity)
	if part.Report {
		p.RegisteredDelivery = registeredReceipt
	}
	dataCoding, data, err := write(part, q)
	if err != nil {
		return err
	}
	p.DataCoding = dataCoding
	if q.IA5 && dataCoding == 0 {
		p.DataCoding = 1
	}
	udh := part.UDH
	if q.LongTexts == smsc.LongSAR && !q.NoTLVs {
		if sar, ok := sarParameters(udh); ok {
			p.TLVs, udh = sar, nil
		}
	}
	if len(udh) > 0 {
		p.ESMClass |= ESMClassUDHI
	}
	long := q.LongTexts == smsc.LongPayload && len(data) > text.Limit(part.Coding, len(udh))
	switch {
	case q.Packed && dataCoding == 0:
		p.ShortMessage = pack(udh, data)
	case len(udh) > 0:
		p.ShortMessage = append(udh[:len(udh):len(udh)], data...)
	default:
		p.ShortMessage = data
	}
	if long || len(p.ShortMessage) > maxShortMessage {
		if q.NoTLVs {
			return fmt.Errorf("smpp: a part of %d octets needs message_payload, and the SMSC takes no optional parameters", len(p.ShortMessage))
		}
		p.TLVs.Add(TagMessagePayload, p.ShortMessage...)
		p.ShortMessage = nil
	}
	if part.More && !q.NoTLVs {
		p.TLVs.Add(TagMoreMessagesToSend, 1)
	}
	return nil
}

// part is the inverse of setPart. It never fails: bad is what a server answers
// to it, while an ESME takes the part as it is, because the SMSC would send it
// again for ever.
func (p *SubmitSM) part(q *smsc.Quirks) (part smsc.Part, bad Status) {
	part = smsc.Part{
		From:   readAddress(q.Numbers, p.SourceAddrTON, p.SourceAddrNPI, p.SourceAddr),
		To:     readAddress(q.Numbers, p.DestAddrTON, p.DestAddrNPI, p.DestinationAddr),
		Data:   p.ShortMessage,
		Report: p.RegisteredDelivery&registeredMask != 0,
	}
	dataCoding := p.DataCoding
	if q.IA5 && dataCoding == 1 {
		dataCoding = 0
	}
	part.Coding, part.Class = ParseDataCoding(dataCoding)
	part.Validity, _ = ParseValidity(p.ValidityPeriod)
	if payload, ok := p.TLVs.Get(TagMessagePayload); ok {
		if len(part.Data) > 0 {
			bad = ROPTPARNOTALLWD
		}
		part.Data = payload
	}
	if more, _ := p.TLVs.Uint8(TagMoreMessagesToSend); more == 1 {
		part.More = true
	}
	all := part.Data
	switch {
	case p.ESMClass&ESMClassUDHI != 0:
		udh, data, err := text.CutUDH(part.Data)
		if err != nil {
			bad = RINVESMCLASS
			break
		}
		part.UDH, part.Data = udh, data
	default:
		part.UDH = sarHeader(p.TLVs)
	}
	if dataCoding == 0 {
		switch {
		case q.Packed:
			part.Data = unpack(all, len(all)-len(part.Data), q.TrailingAt)
		case q.Alphabet != smsc.AlphabetGSM:
			part.Coding = text.Latin1 // of which ASCII is a part
		}
	}
	return part, bad
}

// ParseTime reads schedule_delivery_time and validity_period, absolute
// ("261122215509000+": digits of the local time, then tenths of a second and its
// distance from UTC in quarters of an hour) or relative, as ParseValidity (SMPP
// v3.4 §7.1.1). ok is false for what is no time.
func ParseTime(s string) (w smsc.When, ok bool) {
	if s == "" || len(s) == timeSize-1 && s[15] == 'R' {
		w.After, ok = ParseValidity(s)
		return w, ok
	}
	if len(s) != timeSize-1 || s[15] != '+' && s[15] != '-' {
		return w, false
	}
	for _, c := range []byte(s[:15]) {
		if c < '0' || c > '9' {
			return w, false
		}
	}
	t, err := time.Parse("060102150405", s[:12])
	quarters := time.Duration(s[13]-'0')*10 + time.Duration(s[14]-'0')
	if err != nil || quarters > 48 {
		return w, false
	}
	t = time.Date(2000+t.Year()%100, t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), int(s[12]-'0')*1e8, time.UTC)
	if s[15] == '+' { // the local time is ahead of UTC
		quarters = -quarters
	}
	return smsc.When{At: t.Add(quarters * 15 * time.Minute)}, true
}

// FormatTime writes an absolute time as the clock in t's zone shows it, with the
// zone's distance from UTC (SMPP v3.4 §7.1.1.1), to the second. A zone that is not
// a whole number of quarters of an hour away is written in UTC.
func FormatTime(t time.Time) string {
	_, offset := t.Zone()
	const quarter = 15 * 60
	if offset%quarter != 0 || max(offset, -offset) > 48*quarter {
		t, offset = t.UTC(), 0
	}
	sign := '+'
	if offset < 0 {
		sign, offset = '-', -offset
	}
	return fmt.Sprintf("%s0%02d%c", t.Format("060102150405"), offset/quarter, sign)
}

// sarHeader returns the user data header that says what the sar_ parameters say
// (GSM 03.40 §9.2.3.24.8), nil when they are incomplete or wrong or say "one of one".
func sarHeader(l TLVs) []byte {
	ref, hasRef := l.Uint16(TagSarMsgRefNum)
	total, hasTotal := l.Uint8(TagSarTotalSegments)
	number, hasNumber := l.Uint8(TagSarSegmentSeqnum)
	if !hasRef || !hasTotal || !hasNumber || total < 2 || number < 1 || number > total {
		return nil
	}
	return []byte{6, 8, 4, byte(ref >> 8), byte(ref), total, number}
}

// submitSM gives data_sm the form of submit_sm, which has all its fields.
func (p *DataSM) submitSM() *SubmitSM {
	return &SubmitSM{
		Header:        p.Header,
		ServiceType:   p.ServiceType,
		SourceAddrTON: p.SourceAddrTON, SourceAddrNPI: p.SourceAddrNPI, SourceAddr: p.SourceAddr,
		DestAddrTON: p.DestAddrTON, DestAddrNPI: p.DestAddrNPI, DestinationAddr: p.DestinationAddr,
		ESMClass: p.ESMClass, RegisteredDelivery: p.RegisteredDelivery, DataCoding: p.DataCoding, TLVs: p.TLVs,
	}
}

// submitSM gives submit_multi the form of submit_sm, without its destinations.
func (p *SubmitMulti) submitSM() *SubmitSM {
	return &SubmitSM{
		Header:        p.Header,
		ServiceType:   p.ServiceType,
		SourceAddrTON: p.SourceAddrTON, SourceAddrNPI: p.SourceAddrNPI, SourceAddr: p.SourceAddr,
		ESMClass: p.ESMClass, ProtocolID: p.ProtocolID, PriorityFlag: p.PriorityFlag,
		ScheduleDeliveryTime: p.ScheduleDeliveryTime, ValidityPeriod: p.ValidityPeriod,
		RegisteredDelivery: p.RegisteredDelivery, ReplaceIfPresentFlag: p.ReplaceIfPresentFlag,
		DataCoding: p.DataCoding, SMDefaultMsgID: p.SMDefaultMsgID, ShortMessage: p.ShortMessage, TLVs: p.TLVs,
	}
}

// key is equal for an identical redelivery of a message or a receipt, whatever
// its sequence number.
func (p *SubmitSM) key() string {
	h := sha256.New()
	var b []byte
	field := func(octets string) {
		b = binary.BigEndian.AppendUint32(b[:0], uint32(len(octets)))
		h.Write(append(b, octets...))
	}
	field(string([]byte{
		p.SourceAddrTON, p.SourceAddrNPI, p.DestAddrTON, p.DestAddrNPI, p.ESMClass, p.ProtocolID, p.DataCoding,
	}))
	field(p.SourceAddr)
	field(p.DestinationAddr)
	field(string(p.ShortMessage))
	for _, tag := range [...]Tag{
		TagMessagePayload, TagReceiptedMessageID, TagMessageState,
		TagSarMsgRefNum, TagSarTotalSegments, TagSarSegmentSeqnum,
	} {
		v, _ := p.TLVs.Get(tag)
		field(strings.TrimRight(string(v), "\x00"))
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}
