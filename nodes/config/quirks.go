package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Quirks are an SMSC's deviations from its protocol's specification, and what a
// specification leaves to the operator. smsc.profile fills in what the file does
// not say.
type Quirks struct {
	ReceiptIDs       string            `yaml:"receipt_ids" default:"text" oneof:"text|hex_to_decimal|decimal_to_hex|hex|decimal"`                                    // SMPP: ids in receipts, compared with responses
	Alphabet         string            `yaml:"alphabet" default:"gsm" oneof:"gsm|latin1|ascii"`                                                                      // the SMSC's default alphabet
	Packed           bool              `yaml:"packed"`                                                                                                               // SMPP: data_coding 0 carries packed septets
	LongTexts        string            `yaml:"long_texts" default:"udh" oneof:"udh|udh16|sar|payload"`                                                               // how parts are marked; sar and payload: SMPP
	National         []string          `yaml:"national" oneof:"turkish|spanish|portuguese|bengali|gujarati|hindi|kannada|malayalam|oriya|punjabi|tamil|telugu|urdu"` // tables that handsets there know
	Numbers          string            `yaml:"numbers" default:"ton" oneof:"ton|plus|plain"`                                                                         // how international numbers are written
	NoTLVs           bool              `yaml:"no_tlvs"`                                                                                                              // SMPP 3.3
	DataCoding1      bool              `yaml:"data_coding_1"`                                                                                                        // SMPP: 1 stands for the default alphabet, not 0
	AbsoluteTimes    bool              `yaml:"absolute_times"`                                                                                                       // SMPP: validity periods are dates
	NoLogoutAnswer   bool              `yaml:"no_logout_answer"`
	NoChecksum       bool              `yaml:"no_checksum"`       // CIMD2: packets go out without one
	RequireChecksum  bool              `yaml:"require_checksum"`  // CIMD2: packets that come without one are damaged
	NegativeDelivers bool              `yaml:"negative_delivers"` // CIMD2: what cannot be taken now is answered so, and not left unanswered
	TrailingAt       bool              `yaml:"trailing_at"`       // a 00 at the end of packed septets is '@', not padding
	Cedilla          bool              `yaml:"cedilla"`           // ç goes in the default alphabet, as Ç
	ServiceType      string            `yaml:"service_type"`
	Fates            map[string]string `yaml:"fates" oneof:"temporary|permanent|throttled|session"` // by error code
}

// profiles are kinds of SMSCs that are often met: quirks by their keys.
var profiles = map[string]map[string]string{
	"standard":    {},
	"smpp33":      {"no_tlvs": "true", "receipt_ids": "hex_to_decimal"},
	"hex_ids":     {"receipt_ids": "hex_to_decimal"},
	"latin1":      {"alphabet": "latin1"},
	"packed":      {"packed": "true"},
	"aggregator":  {"long_texts": "sar", "numbers": "plain"},
	"plain_cimd2": {"no_checksum": "true", "no_logout_answer": "true"},
}

// ofOne are the quirks and profiles that only one of the protocols has.
var ofOne = map[string]string{
	"receipt_ids": "smpp", "packed": "smpp", "no_tlvs": "smpp", "service_type": "smpp", "data_coding_1": "smpp", "absolute_times": "smpp",
	"no_checksum": "cimd2", "require_checksum": "cimd2", "negative_delivers": "cimd2",
}

// checkQuirks fills in the profile, and refuses what does not go together.
func (l *loader) checkQuirks(s *SMSC) {
	const key = "smsc.quirks"
	profile := profiles[s.Profile]
	for name := range profile {
		if of := ofOne[name]; of != "" && of != s.Protocol {
			l.fail("smsc.profile", fmt.Sprintf("%s is for %s", s.Profile, of), "choose another, or set single keys of smsc.quirks")
			return
		}
	}
	q := reflect.ValueOf(&s.Quirks).Elem()
	for _, name := range keys(q) {
		if of := ofOne[name]; of != "" && of != s.Protocol && l.given(key+"."+name) {
			l.fail(key+"."+name, fmt.Sprintf("is for %s", of), "remove it")
		}
		if text, ok := profile[name]; ok && !l.given(key+"."+name) {
			field, _ := fieldNamed(q, name)
			if problem, _ := setScalar(field, text); problem != "" {
				panic("config: profile " + s.Profile + ": " + problem)
			}
		}
	}
	smpp := s.Protocol == "smpp"
	switch long := s.Quirks.LongTexts; {
	case !smpp && (long == "sar" || long == "payload"):
		l.fail(key+".long_texts", long+" is for smpp", "write udh or udh16")
	case s.Quirks.NoTLVs && (long == "sar" || long == "payload"):
		l.fail(key+".long_texts", fmt.Sprintf("%s needs optional parameters, which no_tlvs forbids", long), "write udh or udh16, or no_tlvs: false")
	case len(s.Quirks.National) > 0 && (long == "sar" || long == "payload"):
		l.fail(key+".national", "its tables are named in a user data header, which does not go with long_texts: "+long, "write long_texts: udh")
	}
	if len(s.Quirks.National) > 0 && s.Quirks.Alphabet != "gsm" {
		l.fail(key+".national", "belongs to alphabet: gsm", "remove one of them")
	}
	if s.Quirks.Cedilla && s.Quirks.Alphabet != "gsm" {
		l.fail(key+".cedilla", "belongs to alphabet: gsm", "remove one of them")
	}
	if s.Quirks.Packed && s.Quirks.Alphabet != "gsm" {
		l.fail(key+".packed", "septets belong to alphabet: gsm", "remove one of them")
	}
	if len(s.Quirks.ServiceType) > 5 {
		l.fail(key+".service_type", fmt.Sprintf("%q has %d characters, SMPP carries 5", s.Quirks.ServiceType, len(s.Quirks.ServiceType)), "give the one that the operator assigned, CMT say")
	}
	for _, code := range slices.Sorted(maps.Keys(s.Quirks.Fates)) {
		if _, err := ParseCode(code); err != nil {
			l.fail(key+".fates."+code, "is no error code", "write the number, as in 0x58 or 322")
		}
	}
}

// ParseCode reads a key of Quirks.Fates: digits, with 0x before hexadecimal ones.
func ParseCode(text string) (uint32, error) {
	base := 10
	if rest, ok := strings.CutPrefix(strings.ToLower(text), "0x"); ok {
		text, base = rest, 16
	}
	code, err := strconv.ParseUint(text, base, 32)
	return uint32(code), err
}
