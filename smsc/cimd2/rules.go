package cimd2

import (
	"fmt"
	"slices"
	"strconv"
)

// The rules of every operation and parameter, as tables: what a value looks
// like, which parameters a request may and must have, and with what error one
// is refused that breaks a rule. A receiver that is an ESME does not enforce
// them: the SMSC would offer again what is refused.

// kind is what the value of a parameter looks like.
type kind uint8

const (
	kindInt     kind = iota + 1 // decimal digits, leading zeros allowed; '-' where the range has it
	kindOctets                  // any
	kindAddress                 // an address: as isAddress
	kindTime                    // yymmddhhmmss
	kindHex                     // pairs of hexadecimal digits
	kindText                    // as EncodeText
)

// parameter is the rule for a value.
type parameter struct {
	name      string
	kind      kind
	low, high int   // of an integer; else of the number of octets as written
	fault     Error // the answer to a value that breaks the rule
}

var parameters = map[Code]parameter{
	UserIdentity:           {"user identity", kindOctets, 1, 32, ErrInvalidLogin},
	Password:               {"password", kindOctets, 1, 32, ErrInvalidLogin},
	Subaddress:             {"subaddress", kindInt, 0, 9, 107},
	WindowSize:             {"window size", kindInt, 1, 128, ErrWindowSize},
	DestinationAddress:     {"destination address", kindAddress, 1, 20, ErrDestination},
	OriginatingAddress:     {"originating address", kindAddress, 1, 20, ErrOriginatorUsage},
	OriginatingIMSI:        {"originating IMSI", kindAddress, 1, 20, ErrFormat},
	AlphanumericOriginator: {"alphanumeric originating address", kindOctets, 1, 11, ErrAlphanumericData},
	VisitedMSC:             {"originated visited MSC address", kindAddress, 1, 20, ErrFormat},
	DataCodingScheme:       {"data coding scheme", kindInt, 0, 255, ErrCodingUsage},
	UserDataHeader:         {"user data header", kindHex, 2, 280, ErrUserDataSyntax},
	UserData:               {"user data", kindText, 0, 480, ErrUserDataSyntax},
	UserDataBinary:         {"user data binary", kindHex, 0, 280, ErrUserDataSyntax},
	TransportType:          {"transport type", kindOctets, 0, 20, 315},
	MessageType:            {"message type", kindOctets, 0, 20, 316},
	MoreMessages:           {"more messages to send", kindInt, 0, 1, 318},
	OperationTimer:         {"operation timer", kindOctets, 0, 20, 319},
	DialogueID:             {"dialogue id", kindOctets, 0, 20, 320},
	USSDPhase:              {"USSD phase", kindOctets, 0, 20, ErrFormat},
	ServiceCode:            {"service code", kindOctets, 0, 20, ErrFormat},
	ValidityRelative:       {"validity period relative", kindInt, -1, 255, ErrValidityUsage},
	ValidityAbsolute:       {"validity period absolute", kindTime, 12, 12, ErrValidityUsage},
	ProtocolIdentifier:     {"protocol identifier", kindInt, 0, 255, 307},
	FirstDeliveryRelative:  {"first delivery time relative", kindInt, -1, 255, ErrFirstDeliveryUsage},
	FirstDeliveryAbsolute:  {"first delivery time absolute", kindTime, 12, 12, ErrFirstDeliveryUsage},
	ReplyPath:              {"reply path", kindInt, 0, 1, 309},
	StatusReportRequest:    {"status report request", kindInt, 0, 255, 310},
	CancelEnabled:          {"cancel enabled", kindInt, 0, 1, 311},
	CancelMode:             {"cancel mode", kindInt, 0, 2, ErrCancelMode},
	ServiceCentreTime:      {"service centre timestamp", kindTime, 12, 12, ErrFormat},
	StatusCode:             {"status code", kindInt, 0, 9, ErrFormat},
	StatusError:            {"status error code", kindInt, 0, 999, ErrFormat},
	DischargeTime:          {"discharge time", kindTime, 12, 12, ErrFormat},
	TariffClass:            {"tariff class", kindInt, 0, 99, 313},
	ServiceDescription:     {"service description", kindInt, 0, 9, 314},
	MessageCount:           {"message count", kindInt, 0, 999, ErrFormat},
	Priority:               {"priority", kindInt, 0, 9, 312},
	DeliveryMode:           {"delivery request mode", kindInt, 0, 2, ErrDeliveryMode},
	ServiceCentreAddress:   {"service centre address", kindAddress, 1, 20, ErrFormat},
	GetParameter:           {"get parameter", kindInt, 501, 999, ErrItemNotSupported},
	SMSCTime:               {"SMSC time", kindTime, 12, 12, ErrFormat},
	ErrorCode:              {"error code", kindInt, 0, 999, ErrFormat},
	ErrorText:              {"error text", kindOctets, 0, 64, ErrFormat},
}

// fits reports whether value follows the rule.
func (r *parameter) fits(value string) bool {
	if r.kind == kindInt {
		n, err := strconv.Atoi(value)
		return err == nil && value[0] != '+' && n >= r.low && n <= r.high
	}
	if len(value) < r.low || len(value) > r.high {
		return false
	}
	switch r.kind {
	case kindAddress:
		return isAddress(value)
	case kindTime:
		_, ok := parseTime(value)
		return ok
	case kindHex:
		return isHex(value)
	}
	return true
}

// isHex reports whether value is pairs of hexadecimal digits.
func isHex(value string) bool {
	for i := range len(value) {
		if c := value[i] | 0x20; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return len(value)%2 == 0
}

// role is who sends a request.
type role uint8

const (
	esme role = 1 << iota
	centre
	either = esme | centre
)

// operation is the rule for a request and its positive response; a negative one
// has 900 and often 901.
type operation struct {
	name      string
	from      role
	mandatory []Code // without which it is refused with the fault of its parameter
	optional  []Code
	response  []Code         // of a positive response
	faults    map[Code]Error // where the parameter's own does not apply
}

var operations = [100]operation{
	Login: {
		name: "login", from: esme, mandatory: []Code{UserIdentity, Password}, optional: []Code{Subaddress, WindowSize},
	},
	Logout: {name: "logout", from: either},
	Submit: {
		name: "submit", from: esme, mandatory: []Code{DestinationAddress},
		optional: []Code{
			OriginatingAddress, AlphanumericOriginator, DataCodingScheme, UserDataHeader, UserData, UserDataBinary, TransportType, MessageType,
			MoreMessages, OperationTimer, DialogueID, USSDPhase, ServiceCode, ValidityRelative, ValidityAbsolute, ProtocolIdentifier,
			FirstDeliveryRelative, FirstDeliveryAbsolute, ReplyPath, StatusReportRequest, CancelEnabled, TariffClass, ServiceDescription, Priority,
		},
		response: []Code{DestinationAddress, ServiceCentreTime},
	},
	EnquireStatus: {
		name: "enquire_status", from: esme, mandatory: []Code{DestinationAddress, ServiceCentreTime},
		response: []Code{DestinationAddress, ServiceCentreTime, StatusCode, StatusError, DischargeTime},
		faults:   map[Code]Error{DestinationAddress: ErrEnquireAddress, ServiceCentreTime: ErrEnquireTime},
	},
	DeliveryRequest: {name: "delivery_request", from: esme, optional: []Code{DeliveryMode}, response: []Code{MessageCount}},
	Cancel: {
		name: "cancel", from: esme, mandatory: []Code{CancelMode}, optional: []Code{DestinationAddress, ServiceCentreTime},
		faults: map[Code]Error{DestinationAddress: ErrCancelAddress, ServiceCentreTime: ErrCancelTime},
	},
	Set: {
		name: "set", from: esme, mandatory: []Code{Password},
		faults: map[Code]Error{Password: ErrPasswordFailed},
	},
	Get: {name: "get", from: esme, mandatory: []Code{GetParameter}, response: []Code{SMSCTime}},
	Deliver: {
		name: "deliver", from: centre, mandatory: []Code{DestinationAddress, OriginatingAddress, ServiceCentreTime},
		optional: []Code{
			OriginatingIMSI, VisitedMSC, DataCodingScheme, UserDataHeader, UserData, UserDataBinary, ProtocolIdentifier, ServiceCentreAddress,
		},
	},
	DeliverStatusReport: {
		name: "deliver_status_report", from: centre, mandatory: []Code{DestinationAddress, ServiceCentreTime, StatusCode, DischargeTime},
		optional: []Code{StatusError, OriginatingAddress},
	},
	Alive:        {name: "alive", from: either},
	GeneralError: {name: "general_error", from: centre, response: []Code{ErrorCode, ErrorText}},
	Nack:         {name: "nack", from: either},
}

// exclusive parameters may not stand in one packet.
var exclusive = [...]struct {
	a, b  Code
	fault Error
}{
	{UserData, UserDataBinary, ErrUserDataMix},
	{ValidityRelative, ValidityAbsolute, ErrValidityUsage},
	{FirstDeliveryRelative, FirstDeliveryAbsolute, ErrFirstDeliveryUsage},
}

// codeSet is a set of parameters below 1,000.
type codeSet [16]uint64

func (s *codeSet) has(c Code) bool { return c < 1000 && s[c/64]&(1<<(c%64)) != 0 }

func (s *codeSet) add(c Code) { s[c/64] |= 1 << (c % 64) }

// allowed has for each operation the parameters of its request, rules the rule
// of each: the tables above, for speed.
var allowed, rules = func() (allowed [100]codeSet, rules [1000]*parameter) {
	for o, operation := range operations {
		for _, c := range slices.Concat(operation.mandatory, operation.optional) {
			allowed[o].add(c)
		}
	}
	for c, rule := range parameters {
		rules[c] = &rule
	}
	return allowed, rules
}()

// Check says what is wrong with a request by the rules for its operation: what
// must be there, what values look like, what excludes each other. The error is
// a *Rejected with the code to answer. A parameter that the operation does not
// have, or that nobody knows, is left alone.
func (p *Packet) Check() error {
	if e := p.check(); e != nil {
		return e
	}
	return nil
}

func (p *Packet) check() *Rejected {
	if !p.Operation.known() {
		return reject(ErrUnexpectedOperation, "operation %02d is not known", uint8(p.Operation))
	}
	rule := &operations[p.Operation]
	fault := func(c Code) Error {
		if e, ok := rule.faults[c]; ok {
			return e
		}
		return parameters[c].fault
	}
	var seen codeSet
	for i := range p.Params {
		q := &p.Params[i]
		if !allowed[p.Operation].has(q.Code) {
			continue
		}
		if r := rules[q.Code]; !r.fits(q.Value) {
			return reject(fault(q.Code), "parameter %v, %s, is %.40q", q.Code, r.name, q.Value)
		}
		if seen.has(q.Code) && (q.Code != DestinationAddress || p.Operation != Submit) { // one for each destination
			return reject(ErrSyntax, "parameter %v, %s, stands there twice", q.Code, parameters[q.Code].name)
		}
		seen.add(q.Code)
	}
	for _, c := range rule.mandatory {
		if !seen.has(c) {
			return reject(fault(c), "parameter %v, %s, is missing", c, parameters[c].name)
		}
	}
	for _, x := range exclusive {
		if seen.has(x.a) && seen.has(x.b) {
			return reject(x.fault, "both parameter %v, %s, and %v, %s", x.a, parameters[x.a].name, x.b, parameters[x.b].name)
		}
	}
	if p.Operation == Cancel {
		return p.checkCancel()
	}
	return nil
}

// checkCancel: which parameters a mode needs.
func (p *Packet) checkCancel() *Rejected {
	to, at := p.Has(DestinationAddress), p.Has(ServiceCentreTime)
	switch mode, _ := p.Int(CancelMode); {
	case mode == CancelDestination && !to, mode == CancelOne && !to:
		return reject(ErrCancelAddress, "cancel mode %d needs a destination address", mode)
	case mode == CancelOne && !at:
		return reject(ErrCancelTime, "cancel mode %d needs a service centre timestamp", mode)
	case mode == CancelDestination && at, mode == CancelAll && (to || at):
		return reject(ErrCancelCombination, "cancel mode %d has parameters of another", mode)
	}
	return nil
}

// Values of CancelMode.
const (
	CancelDestination = 0 // all to the destination
	CancelAll         = 1 // all of this account
	CancelOne         = 2 // the one with this destination and timestamp
)

// Rejected is why a request was refused, by the rules for its parameters.
type Rejected struct {
	Code   Error
	Reason string
}

func (e *Rejected) Error() string { return fmt.Sprintf("cimd2: %s (error %d)", e.Reason, int(e.Code)) }

func reject(code Error, reason string, args ...any) *Rejected {
	return &Rejected{code, fmt.Sprintf(reason, args...)}
}
