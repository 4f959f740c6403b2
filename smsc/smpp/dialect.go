package smpp

import (
	"errors"
	"fmt"

	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/text"
)

// Check says what of cfg SMPP v3.4 cannot do, in words for who configures it.
func Check(cfg smsc.Config) error {
	q := cfg.Quirks
	switch {
	case len(cfg.Password) > 8:
		return fmt.Errorf("smpp: the password has %d characters, SMPP v3.4 allows 8: ask the operator for a shorter one "+
			"(an SMSC that accepts longer ones mostly compares the first 8: then give these alone)", len(cfg.Password))
	case len(cfg.User) > 15:
		return fmt.Errorf("smpp: the user (system_id) has %d characters, SMPP v3.4 allows 15: ask the operator for a shorter one", len(cfg.User))
	case len(cfg.SystemType) > 12:
		return fmt.Errorf("smpp: the system type has %d characters, SMPP v3.4 allows 12", len(cfg.SystemType))
	case len(q.ServiceType) > 5:
		return fmt.Errorf("smpp: the service type %q has %d characters, SMPP v3.4 allows 5", q.ServiceType, len(q.ServiceType))
	case q.Packed && q.Alphabet != smsc.AlphabetGSM:
		return errors.New("smpp: only GSM septets can be packed: use either packed or another default alphabet")
	case q.NoTLVs && q.LongTexts != smsc.LongUDH:
		return errors.New("smpp: long texts in sar_ parameters or message_payload need optional parameters: use udh, or allow TLVs")
	}
	for code, fate := range q.Fates {
		if code == uint32(OK) {
			return errors.New("smpp: status 0 is success and cannot mean anything else")
		}
		if fate == smsc.Accepted || fate >= smsc.Unknown {
			return fmt.Errorf("smpp: %v cannot mean %v: use temporary, permanent, throttled or bad_session", Status(code), fate)
		}
	}
	for _, field := range []struct{ name, value string }{
		{"user", cfg.User}, {"password", cfg.Password}, {"system type", cfg.SystemType}, {"service type", q.ServiceType},
	} {
		for _, c := range []byte(field.value) {
			if c < ' ' || c > '~' {
				return fmt.Errorf("smpp: the %s contains the octet %#02x: SMPP allows ASCII characters only", field.name, c)
			}
		}
	}
	switch cfg.Mode {
	case "", "transceiver", "transmitter", "receiver":
		return nil
	}
	return fmt.Errorf("smpp: mode %q is none: use transceiver, transmitter or receiver", cfg.Mode)
}

// version is the interface_version to bind with: v3.3 knew neither optional
// parameters nor a transceiver.
func version(cfg smsc.Config) uint8 {
	if cfg.Quirks.NoTLVs && (cfg.Mode == "transmitter" || cfg.Mode == "receiver") {
		return interfaceVersion33
	}
	return interfaceVersion
}

// address normalises what peers write: a '+' inside says international.
func address(ton, npi uint8, digits string) smsc.Address {
	if ton != smsc.TONAlphanumeric && len(digits) > 1 && digits[0] == '+' {
		ton, digits = smsc.TONInternational, digits[1:]
		if npi == 0 {
			npi = 1
		}
	}
	return smsc.Address{TON: ton, NPI: npi, Digits: digits}
}

// readAddress is address at an SMSC that writes numbers in a way of its own.
// With NumbersPlain all that is as long as a number of E.164 and begins like one
// is taken for international: national numbers and short codes are shorter.
func readAddress(n smsc.Numbers, ton, npi uint8, digits string) smsc.Address {
	a := address(ton, npi, digits)
	if n == smsc.NumbersPlain && a.TON == smsc.TONUnknown && len(digits) >= 11 && len(digits) <= 15 && digits[0] != '0' {
		a.TON, a.NPI = smsc.TONInternational, 1
	}
	return a
}

// writeAddress writes a number as the SMSC wants it.
func writeAddress(n smsc.Numbers, a smsc.Address) (ton, npi uint8, digits string) {
	if a.TON == smsc.TONInternational {
		switch n {
		case smsc.NumbersPlus:
			return a.TON, a.NPI, "+" + a.Digits
		case smsc.NumbersPlain:
			return smsc.TONUnknown, a.NPI, a.Digits
		}
	}
	return a.TON, a.NPI, a.Digits
}

// pack packs septets behind a header, from the next septet's border on, and
// returns both (3GPP 23.040 §9.2.3.24).
func pack(udh, septets []byte) []byte {
	n := (8*len(udh) + 6) / 7 // septets that the header takes
	octets := text.Pack(append(make([]byte, n, n+len(septets)), septets...))
	copy(octets, udh)
	return octets
}

// unpack is the inverse; udh is how many octets of all are the header. trailing takes
// a 00 at the end, where it may be padding, for a septet.
func unpack(all []byte, udh int, trailing bool) []byte {
	n := -1
	if trailing {
		n = 8 * len(all) / 7
	}
	septets := text.Unpack(all, n)
	return septets[min((8*udh+6)/7, len(septets)):]
}

// write returns data_coding and the octets behind the header for a part, in
// data_coding 0 in what this SMSC takes for its default alphabet. A text that
// cannot be written in that goes in UCS2, if it has room.
func write(part *smsc.Part, q *smsc.Quirks) (dataCoding uint8, data []byte, err error) {
	dataCoding = DataCoding(part.Coding, part.Class)
	highest := byte(0xFF)
	switch q.Alphabet {
	case smsc.AlphabetGSM:
		return dataCoding, part.Data, nil
	case smsc.AlphabetASCII:
		highest = 0x7F
	}
	switch {
	case part.Coding == text.Latin1 && allUpTo(part.Data, highest):
		return 0, part.Data, nil
	case dataCoding != 0:
		return dataCoding, part.Data, nil
	}
	s := text.DecodeGSM7(part.Data)
	if data, ok := text.EncodeLatin1(s); ok && allUpTo(data, highest) {
		return 0, data, nil
	}
	data = text.EncodeUCS2(s)
	if room := text.Limit(text.UCS2, len(part.UDH)); len(data) > room {
		return 0, nil, fmt.Errorf("smpp: the text has characters that the SMSC's default alphabet lacks, and in UCS2 it has %d octets, one message holds %d", len(data), room)
	}
	return DataCoding(text.UCS2, part.Class), data, nil
}

func allUpTo(data []byte, highest byte) bool {
	for _, c := range data {
		if c > highest {
			return false
		}
	}
	return true
}

// sarParameters returns the sar_ parameters that say what a user data header
// says, if that is nothing but a place in a text.
func sarParameters(udh []byte) (l TLVs, ok bool) {
	elements, err := text.ParseUDH(udh)
	c, placed := text.Concatenation(udh)
	if err != nil || !placed || len(elements) != 1 {
		return nil, false
	}
	l = make(TLVs, 0, 4)
	l.AddUint16(TagSarMsgRefNum, c.Ref.Number)
	l.Add(TagSarTotalSegments, c.Total)
	l.Add(TagSarSegmentSeqnum, c.Number)
	return l, true
}
