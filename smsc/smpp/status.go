package smpp

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/ringway-im/ringway/smsc"
)

// Status is a command_status (SMPP v3.4 §5.1.3).
type Status uint32

// The statuses of SMPP v3.4, and of v5.0 those that need no v5.0 operation. The
// name on the wire's side of the fence has ESME_ in front.
const (
	OK               Status = 0x00
	RINVMSGLEN       Status = 0x01
	RINVCMDLEN       Status = 0x02
	RINVCMDID        Status = 0x03
	RINVBNDSTS       Status = 0x04
	RALYBND          Status = 0x05
	RINVPRTFLG       Status = 0x06
	RINVREGDLVFLG    Status = 0x07
	RSYSERR          Status = 0x08
	RINVSRCADR       Status = 0x0A
	RINVDSTADR       Status = 0x0B
	RINVMSGID        Status = 0x0C
	RBINDFAIL        Status = 0x0D
	RINVPASWD        Status = 0x0E
	RINVSYSID        Status = 0x0F
	RCANCELFAIL      Status = 0x11
	RREPLACEFAIL     Status = 0x13
	RMSGQFUL         Status = 0x14
	RINVSERTYP       Status = 0x15
	RINVNUMDESTS     Status = 0x33
	RINVDLNAME       Status = 0x34
	RINVDESTFLAG     Status = 0x40
	RINVSUBREP       Status = 0x42
	RINVESMCLASS     Status = 0x43
	RCNTSUBDL        Status = 0x44
	RSUBMITFAIL      Status = 0x45
	RINVSRCTON       Status = 0x48
	RINVSRCNPI       Status = 0x49
	RINVDSTTON       Status = 0x50
	RINVDSTNPI       Status = 0x51
	RINVSYSTYP       Status = 0x53
	RINVREPFLAG      Status = 0x54
	RINVNUMMSGS      Status = 0x55
	RTHROTTLED       Status = 0x58
	RINVSCHED        Status = 0x61
	RINVEXPIRY       Status = 0x62
	RINVDFTMSGID     Status = 0x63
	RXTAPPN          Status = 0x64
	RXPAPPN          Status = 0x65
	RXRAPPN          Status = 0x66
	RQUERYFAIL       Status = 0x67
	RINVOPTPARSTREAM Status = 0xC0
	ROPTPARNOTALLWD  Status = 0xC1
	RINVPARLEN       Status = 0xC2
	RMISSINGOPTPARAM Status = 0xC3
	RINVOPTPARAMVAL  Status = 0xC4
	RDELIVERYFAILURE Status = 0xFE
	RUNKNOWNERR      Status = 0xFF
	RSERTYPUNAUTH    Status = 0x100
	RPROHIBITED      Status = 0x101
	RSERTYPUNAVAIL   Status = 0x102
	RSERTYPDENIED    Status = 0x103
	RINVDCS          Status = 0x104
	RINVSRCSUBUNIT   Status = 0x105
	RINVDSTSUBUNIT   Status = 0x106
)

// statuses: what each means, and what it says about a message that got it in
// submit_sm_resp. The fates are judgement where SMPP is silent: RMSGQFUL mostly
// means the account's queue, RSUBMITFAIL is used for both kinds of failure.
var statuses = map[Status]struct {
	name    string
	meaning string
	fate    smsc.Fate
}{
	OK:               {"ROK", "no error", smsc.Accepted},
	RINVMSGLEN:       {"RINVMSGLEN", "invalid message length", smsc.Permanent},
	RINVCMDLEN:       {"RINVCMDLEN", "invalid command length", smsc.Permanent},
	RINVCMDID:        {"RINVCMDID", "invalid command id", smsc.Permanent},
	RINVBNDSTS:       {"RINVBNDSTS", "wrong bind state for this command", smsc.BadSession},
	RALYBND:          {"RALYBND", "already bound", smsc.BadSession},
	RINVPRTFLG:       {"RINVPRTFLG", "invalid priority flag", smsc.Permanent},
	RINVREGDLVFLG:    {"RINVREGDLVFLG", "invalid registered delivery flag", smsc.Permanent},
	RSYSERR:          {"RSYSERR", "system error", smsc.Temporary},
	RINVSRCADR:       {"RINVSRCADR", "invalid source address", smsc.Permanent},
	RINVDSTADR:       {"RINVDSTADR", "invalid destination address", smsc.Permanent},
	RINVMSGID:        {"RINVMSGID", "invalid message id", smsc.Permanent},
	RBINDFAIL:        {"RBINDFAIL", "bind failed", smsc.BadSession},
	RINVPASWD:        {"RINVPASWD", "wrong password", smsc.BadSession},
	RINVSYSID:        {"RINVSYSID", "unknown system id", smsc.BadSession},
	RCANCELFAIL:      {"RCANCELFAIL", "cancel failed", smsc.Permanent},
	RREPLACEFAIL:     {"RREPLACEFAIL", "replace failed", smsc.Permanent},
	RMSGQFUL:         {"RMSGQFUL", "message queue full", smsc.Throttled},
	RINVSERTYP:       {"RINVSERTYP", "invalid service type", smsc.Permanent},
	RINVNUMDESTS:     {"RINVNUMDESTS", "invalid number of destinations", smsc.Permanent},
	RINVDLNAME:       {"RINVDLNAME", "invalid distribution list name", smsc.Permanent},
	RINVDESTFLAG:     {"RINVDESTFLAG", "invalid destination flag", smsc.Permanent},
	RINVSUBREP:       {"RINVSUBREP", "submit with replace not allowed", smsc.Permanent},
	RINVESMCLASS:     {"RINVESMCLASS", "invalid esm_class", smsc.Permanent},
	RCNTSUBDL:        {"RCNTSUBDL", "cannot submit to the distribution list", smsc.Permanent},
	RSUBMITFAIL:      {"RSUBMITFAIL", "submit failed", smsc.Temporary},
	RINVSRCTON:       {"RINVSRCTON", "invalid source TON", smsc.Permanent},
	RINVSRCNPI:       {"RINVSRCNPI", "invalid source NPI", smsc.Permanent},
	RINVDSTTON:       {"RINVDSTTON", "invalid destination TON", smsc.Permanent},
	RINVDSTNPI:       {"RINVDSTNPI", "invalid destination NPI", smsc.Permanent},
	RINVSYSTYP:       {"RINVSYSTYP", "invalid system type", smsc.BadSession},
	RINVREPFLAG:      {"RINVREPFLAG", "invalid replace flag", smsc.Permanent},
	RINVNUMMSGS:      {"RINVNUMMSGS", "invalid number of messages", smsc.Permanent},
	RTHROTTLED:       {"RTHROTTLED", "throttled: message limit exceeded", smsc.Throttled},
	RINVSCHED:        {"RINVSCHED", "invalid scheduled delivery time", smsc.Permanent},
	RINVEXPIRY:       {"RINVEXPIRY", "invalid validity period", smsc.Permanent},
	RINVDFTMSGID:     {"RINVDFTMSGID", "invalid predefined message", smsc.Permanent},
	RXTAPPN:          {"RX_T_APPN", "temporary error of the receiving application", smsc.Temporary},
	RXPAPPN:          {"RX_P_APPN", "permanent error of the receiving application", smsc.Permanent},
	RXRAPPN:          {"RX_R_APPN", "rejected by the receiving application", smsc.Permanent},
	RQUERYFAIL:       {"RQUERYFAIL", "query failed", smsc.Permanent},
	RINVOPTPARSTREAM: {"RINVOPTPARSTREAM", "error in the optional parameters", smsc.Permanent},
	ROPTPARNOTALLWD:  {"ROPTPARNOTALLWD", "optional parameter not allowed", smsc.Permanent},
	RINVPARLEN:       {"RINVPARLEN", "invalid parameter length", smsc.Permanent},
	RMISSINGOPTPARAM: {"RMISSINGOPTPARAM", "optional parameter missing", smsc.Permanent},
	RINVOPTPARAMVAL:  {"RINVOPTPARAMVAL", "invalid optional parameter value", smsc.Permanent},
	RDELIVERYFAILURE: {"RDELIVERYFAILURE", "delivery failed", smsc.Permanent},
	RUNKNOWNERR:      {"RUNKNOWNERR", "unknown error", smsc.Temporary},
	RSERTYPUNAUTH:    {"RSERTYPUNAUTH", "not authorised for the service type", smsc.Permanent},
	RPROHIBITED:      {"RPROHIBITED", "prohibited", smsc.Permanent},
	RSERTYPUNAVAIL:   {"RSERTYPUNAVAIL", "service type unavailable", smsc.Temporary},
	RSERTYPDENIED:    {"RSERTYPDENIED", "service type denied", smsc.Permanent},
	RINVDCS:          {"RINVDCS", "invalid data coding", smsc.Permanent},
	RINVSRCSUBUNIT:   {"RINVSRCADDRSUBUNIT", "invalid source address subunit", smsc.Permanent},
	RINVDSTSUBUNIT:   {"RINVDSTADDRSUBUNIT", "invalid destination address subunit", smsc.Permanent},
}

// String is "ESME_RTHROTTLED (0x58)".
func (s Status) String() string {
	name := "status"
	if e, ok := statuses[s]; ok {
		name = "ESME_" + e.name
	}
	return fmt.Sprintf("%s (0x%02X)", name, uint32(s))
}

// Meaning says in words what the status is for.
func (s Status) Meaning() string {
	switch e, ok := statuses[s]; {
	case ok:
		return e.meaning
	case s >= 0x400 && s <= 0x4FF:
		return "SMSC vendor's own error: ask the operator"
	case s >= 0x107 && s <= 0x112:
		return "SMPP v5.0 broadcast error"
	}
	return "undefined in SMPP v3.4: ask the operator"
}

// Class says whether SMPP defines the status, leaves it to the SMSC's vendor, or
// neither.
func (s Status) Class() smsc.CodeClass {
	switch _, ok := statuses[s]; {
	case ok, s >= 0x107 && s <= 0x112:
		return smsc.CodeKnown
	case s >= 0x400 && s <= 0x4FF:
		return smsc.CodeVendor
	}
	return smsc.CodeUndefined
}

// Label names the status for metrics: "ESME_RTHROTTLED", the number where SMPP gives
// the range a meaning and no name, else "other".
func (s Status) Label() string {
	switch e, ok := statuses[s]; {
	case s == OK:
		return "ESME_ROK" // each message's: made once
	case ok:
		return "ESME_" + e.name
	case s.Class() == smsc.CodeUndefined:
		return "other"
	}
	return fmt.Sprintf("0x%X", uint32(s))
}

// Fate says what becomes of a message that got this answer. Statuses that SMPP
// does not define, or leaves to the vendor, are taken for temporary; how often a
// message is tried again after one is bounded (see Class).
func (s Status) Fate() smsc.Fate {
	if s == OK {
		return smsc.Accepted
	}
	if e, ok := statuses[s]; ok {
		return e.fate
	}
	if s >= 0x107 && s <= 0x112 {
		return smsc.Permanent
	}
	return smsc.Temporary
}

// outcome is the Outcome of a submit that got this answer.
func (s Status) outcome(id string) smsc.Outcome {
	if s == OK {
		return smsc.Outcome{Fate: smsc.Accepted, ID: id, Status: s.Label()}
	}
	return smsc.Outcome{Fate: s.Fate(), Class: s.Class(), Code: s.String(), Text: s.Meaning(), Status: s.Label()}
}

// ParseStatus reads "ESME_RTHROTTLED", "RTHROTTLED", "ESME_RTHROTTLED (0x58)",
// "0x58" and "88"; ok is false for anything else.
func ParseStatus(text string) (s Status, ok bool) {
	word, rest, _ := strings.Cut(strings.TrimSpace(text), " ")
	if n, err := strconv.ParseUint(word, 0, 32); err == nil {
		return Status(n), true
	}
	name := strings.TrimPrefix(word, "ESME_")
	for s, e := range statuses {
		if e.name == name {
			return s, true
		}
	}
	if n, err := strconv.ParseUint(strings.Trim(rest, "()"), 0, 32); err == nil && word == "status" {
		return Status(n), true
	}
	return 0, false
}
