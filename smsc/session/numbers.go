package session

import (
	"strings"

	"github.com/ringway-im/ringway/smsc"
)

// Numbers says how a handset's number is meant when its SMSC does not say that
// it is international (3GPP 23.040 §9.1.2.5: type of number).
type Numbers struct {
	Country string // calling code of national numbers, 63 say; empty: they stay as they are
	Trunk   string // what they begin with where the code is left out: 0 in most countries
}

// The lengths of international numbers that are taken for such without being
// marked. E.164 allows 15 digits; fewer than 11 may be national or a short code.
const (
	leastInternational = 11
	mostInternational  = 15
)

// handset returns a handset's number in its international form, so that one
// handset has one number however its SMSC writes it. Short codes, alphanumeric
// senders and what is not known for sure stay as they are.
func (n Numbers) handset(a smsc.Address) smsc.Address {
	digits := a.Digits
	switch a.TON {
	case smsc.TONUnknown:
		national, trunk := strings.CutPrefix(digits, n.Trunk)
		trunk = trunk && n.Trunk != "" && n.Country != ""
		switch {
		case strings.HasPrefix(digits, "00"): // the prefix for abroad (ITU-T E.123)
			digits = digits[2:]
			if len(digits) < leastInternational-4 {
				return a
			}
		case trunk && len(n.Country)+len(national) >= leastInternational-1:
			digits = n.Country + national
		case len(digits) < leastInternational || digits[0] == '0':
			return a
		}
	case smsc.TONNational:
		if n.Country == "" {
			return a
		}
		if n.Trunk != "" {
			digits = strings.TrimPrefix(digits, n.Trunk)
		}
		digits = n.Country + digits
	default:
		return a
	}
	if len(digits) > mostInternational || !allDigits(digits) {
		return a
	}
	return smsc.Address{TON: smsc.TONInternational, NPI: 1, Digits: digits}
}

func allDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
