package session

import (
	"testing"

	"github.com/ringway-im/ringway/smsc"
)

func TestHandsetNumbers(t *testing.T) {
	manila, none, york := Numbers{"63", "0"}, Numbers{"", "0"}, Numbers{"1", "1"}
	for _, c := range []struct {
		numbers Numbers
		ton     uint8
		digits  string
		want    string
	}{
		{manila, smsc.TONInternational, "639171234567", "+639171234567"},
		{manila, smsc.TONUnknown, "639171234567", "+639171234567"},
		{manila, smsc.TONUnknown, "09171234567", "+639171234567"},
		{manila, smsc.TONUnknown, "00639171234567", "+639171234567"},
		{manila, smsc.TONUnknown, "0044170", "0044170"}, // too short for a number abroad
		{manila, smsc.TONNational, "9171234567", "+639171234567"},
		{manila, smsc.TONNational, "09171234567", "+639171234567"},
		{manila, smsc.TONUnknown, "9171234567", "9171234567"}, // could be anything
		{manila, smsc.TONUnknown, "0800", "0800"},
		{manila, smsc.TONUnknown, "2929", "2929"}, // a short code
		{manila, smsc.TONNetwork, "639171234567", "639171234567"},
		{manila, smsc.TONAbbreviated, "12345678901", "12345678901"},
		{manila, smsc.TONAlphanumeric, "GLOBE", "GLOBE"},
		{manila, smsc.TONUnknown, "1234567890123456", "1234567890123456"}, // no number has 16 digits
		{manila, smsc.TONUnknown, "63917x234567", "63917x234567"},
		{manila, smsc.TONUnknown, "", ""},
		{none, smsc.TONUnknown, "639171234567", "+639171234567"},
		{none, smsc.TONUnknown, "09171234567", "09171234567"},
		{none, smsc.TONNational, "9171234567", "9171234567"},
		{none, smsc.TONUnknown, "00639171234567", "+639171234567"},
		{york, smsc.TONUnknown, "12125551234", "+12125551234"},
		{york, smsc.TONNational, "2125551234", "+12125551234"},
		{Numbers{}, smsc.TONUnknown, "639171234567", "+639171234567"},
	} {
		if got := c.numbers.handset(smsc.Address{TON: c.ton, NPI: 1, Digits: c.digits}).String(); got != c.want {
			t.Errorf("%+v, type %d: %s becomes %s, want %s", c.numbers, c.ton, c.digits, got, c.want)
		}
	}
}
