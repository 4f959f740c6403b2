package cimd2

import (
	"fmt"
	"strconv"

	"github.com/ringway-im/ringway/smsc"
)

// Operation is a packet's operation code. The response to a request is 50
// higher; GeneralError and Nack answer any.
type Operation uint8

// The operations: requests, then what is no request's response.
const (
	Login               Operation = 1
	Logout              Operation = 2
	Submit              Operation = 3
	EnquireStatus       Operation = 4
	DeliveryRequest     Operation = 5
	Cancel              Operation = 6
	Set                 Operation = 8
	Get                 Operation = 9
	Deliver             Operation = 20
	DeliverStatusReport Operation = 23
	Alive               Operation = 40
	GeneralError        Operation = 98
	Nack                Operation = 99
)

// Response returns the code of the response to a request.
func (o Operation) Response() Operation { return o + 50 }

// Request reports whether o asks for a response: what is no response, known or not.
func (o Operation) Request() bool {
	return o < 50 || !o.known() && !(o-50).known()
}

// known reports whether o is a request, GeneralError or Nack.
func (o Operation) known() bool { return int(o) < len(operations) && operations[o].name != "" }

func (o Operation) String() string {
	switch {
	case o.known():
		return operations[o].name
	case o > 50 && (o - 50).known():
		return operations[o-50].name + "_resp"
	}
	return fmt.Sprintf("operation_%02d", uint8(o))
}

// Code is a parameter's code.
type Code uint16

// The parameters. INT is decimal, TIME yymmddhhmmss in the SMSC's own zone, HEX
// hexadecimal octets.
const (
	UserIdentity           Code = 10 // at most 32 octets
	Password               Code = 11 // at most 32 octets
	Subaddress             Code = 12 // INT 0 to 9
	WindowSize             Code = 19 // INT 1 to 128
	DestinationAddress     Code = 21 // '+' marks an international one; several in a submit
	OriginatingAddress     Code = 23
	OriginatingIMSI        Code = 26
	AlphanumericOriginator Code = 27 // at most 11 octets
	VisitedMSC             Code = 28
	DataCodingScheme       Code = 30 // INT 0 to 255, 3GPP 23.038
	UserDataHeader         Code = 32 // HEX, with its length octet
	UserData               Code = 33 // text as in EncodeText
	UserDataBinary         Code = 34 // HEX
	TransportType          Code = 41 // obsolete
	MessageType            Code = 42 // obsolete
	MoreMessages           Code = 44 // 0 or 1
	OperationTimer         Code = 45 // obsolete
	DialogueID             Code = 46 // obsolete
	USSDPhase              Code = 47 // obsolete
	ServiceCode            Code = 48 // obsolete
	ValidityRelative       Code = 50 // INT -1 to 255, TP-VP
	ValidityAbsolute       Code = 51 // TIME
	ProtocolIdentifier     Code = 52 // INT 0 to 255
	FirstDeliveryRelative  Code = 53 // INT -1 to 255, TP-VP
	FirstDeliveryAbsolute  Code = 54 // TIME
	ReplyPath              Code = 55 // 0 or 1
	StatusReportRequest    Code = 56 // INT, bits as Report...
	CancelEnabled          Code = 58 // 0 or 1
	CancelMode             Code = 59 // INT 0 to 2
	ServiceCentreTime      Code = 60 // TIME; with the destination it names a message
	StatusCode             Code = 61 // INT 0 to 9
	StatusError            Code = 62 // INT
	DischargeTime          Code = 63 // TIME
	TariffClass            Code = 64 // INT 0 to 99
	ServiceDescription     Code = 65 // INT 0 to 9
	MessageCount           Code = 66 // INT 0 to 999
	Priority               Code = 67 // INT 1 to 9
	DeliveryMode           Code = 68 // INT 0 how many wait, 1 deliver one, 2 deliver all
	ServiceCentreAddress   Code = 69
	GetParameter           Code = 500 // INT: the code that is asked for
	SMSCTime               Code = 501 // TIME
	ErrorCode              Code = 900 // INT, as Error
	ErrorText              Code = 901 // at most 64 octets
)

func (c Code) String() string { return fmt.Sprintf("%03d", uint16(c)) }

// Bits of StatusReportRequest.
const (
	ReportTemporaryError = 1
	ReportExpired        = 2
	ReportFailed         = 4
	ReportDelivered      = 8
	ReportCancelled      = 16
	ReportDeleted        = 32
	ReportFirstTemporary = 64 // newer SMSCs

	reportFinal = ReportExpired | ReportFailed | ReportDelivered | ReportCancelled | ReportDeleted
)

// Values of DeliveryMode.
const (
	DeliverCount = 0 // how many messages wait?
	DeliverOne   = 1 // deliver one: what an absent parameter means
	DeliverAll   = 2
)

// Error is an error code: the value of parameter 900.
type Error int

// Errors that this package sends or acts on.
const (
	ErrUnexpectedOperation  Error = 1
	ErrSyntax               Error = 2
	ErrUnsupportedParameter Error = 3
	ErrSystem               Error = 6
	ErrNoInformation        Error = 7
	ErrFormat               Error = 8
	ErrFailed               Error = 9
	ErrCongestion           Error = 10
	ErrInvalidLogin         Error = 100
	ErrAccessType           Error = 101
	ErrWindowSize           Error = 104
	ErrWindowingDisabled    Error = 105
	ErrDestination          Error = 300
	ErrDestinationCount     Error = 301
	ErrUserDataSyntax       Error = 302
	ErrUserDataMix          Error = 303
	ErrCodingUsage          Error = 304
	ErrValidityUsage        Error = 305
	ErrOriginatorUsage      Error = 306
	ErrFirstDeliveryUsage   Error = 308
	ErrAlphanumericUsage    Error = 321
	ErrAlphanumericData     Error = 322
	ErrEnquireAddress       Error = 400
	ErrEnquireTime          Error = 401
	ErrDeliveryMode         Error = 501
	ErrCancelTime           Error = 600
	ErrCancelAddress        Error = 601
	ErrCancelMode           Error = 602
	ErrCancelCombination    Error = 603
	ErrDeliverOKWaiting     Error = 700
	ErrDeliverFailed        Error = 710
	ErrPasswordFailed       Error = 800
	ErrPasswordNotAllowed   Error = 801
	ErrItemNotSupported     Error = 900
)

// errorTable has what each code means and what becomes of a submit that is
// answered with it. The fates are this package's judgement.
var errorTable = map[Error]struct {
	text string
	fate smsc.Fate
}{
	0:   {"no error", smsc.Accepted},
	1:   {"unexpected operation", smsc.BadSession},
	2:   {"syntax error", smsc.Permanent},
	3:   {"unsupported parameter", smsc.Permanent},
	4:   {"connection to SMSC lost", smsc.Throttled},
	5:   {"no response from SMSC", smsc.Unknown},
	6:   {"general system error", smsc.Temporary},
	7:   {"cannot find information", smsc.Permanent},
	8:   {"parameter formatting error", smsc.Permanent},
	9:   {"requested operation failed", smsc.Temporary},
	10:  {"temporary congestion", smsc.Throttled},
	100: {"invalid login", smsc.BadSession},
	101: {"incorrect access type", smsc.BadSession},
	102: {"too many users with this login", smsc.BadSession},
	103: {"login refused by SMSC", smsc.BadSession},
	104: {"invalid window size", smsc.BadSession},
	105: {"windowing disabled", smsc.BadSession},
	106: {"virtual SMSC barring", smsc.BadSession},
	107: {"invalid subaddress", smsc.BadSession},
	108: {"alias account, login refused", smsc.BadSession},
	300: {"incorrect destination address", smsc.Permanent},
	301: {"incorrect number of destination addresses", smsc.Permanent},
	302: {"syntax error in user data", smsc.Permanent},
	303: {"incorrect combination of user data parameters", smsc.Permanent},
	304: {"incorrect data coding scheme usage", smsc.Permanent},
	305: {"incorrect validity period usage", smsc.Permanent},
	306: {"incorrect originating address usage", smsc.Permanent},
	307: {"incorrect protocol identifier usage", smsc.Permanent},
	308: {"incorrect first delivery time usage", smsc.Permanent},
	309: {"incorrect reply path usage", smsc.Permanent},
	310: {"incorrect status report request usage", smsc.Permanent},
	311: {"incorrect cancel enabled usage", smsc.Permanent},
	312: {"incorrect priority usage", smsc.Permanent},
	313: {"incorrect tariff class usage", smsc.Permanent},
	314: {"incorrect service description usage", smsc.Permanent},
	315: {"incorrect transport type usage", smsc.Permanent},
	316: {"incorrect message type usage", smsc.Permanent},
	318: {"incorrect more messages usage", smsc.Permanent},
	319: {"incorrect operation timer usage", smsc.Permanent},
	320: {"incorrect dialogue id usage", smsc.Permanent},
	321: {"incorrect alphanumeric originating address usage", smsc.Permanent},
	322: {"invalid alphanumeric originating address", smsc.Permanent},
	323: {"rejected by closed user group", smsc.Permanent},
	324: {"licence expired or exceeded", smsc.Temporary},
	400: {"incorrect address usage", smsc.Permanent},
	401: {"incorrect service centre time usage", smsc.Permanent},
	500: {"incorrect time usage", smsc.Permanent},
	501: {"incorrect delivery request mode", smsc.Permanent},
	502: {"incorrect combination of delivery request parameters", smsc.Permanent},
	600: {"incorrect service centre time usage in cancel", smsc.Permanent},
	601: {"incorrect address usage in cancel", smsc.Permanent},
	602: {"incorrect cancel mode", smsc.Permanent},
	603: {"incorrect combination of cancel parameters", smsc.Permanent},
	700: {"delivered, the application waits", smsc.Accepted},
	710: {"generic failure of the application", smsc.Temporary},
	711: {"data coding scheme not supported by the application", smsc.Permanent},
	712: {"user data header not supported by the application", smsc.Permanent},
	730: {"unknown subscriber at the application", smsc.Permanent},
	800: {"password change failed", smsc.Permanent},
	801: {"password change not allowed", smsc.Permanent},
	900: {"requested item not supported", smsc.Permanent},
}

// Class says whether CIMD2 defines e. It leaves no range to vendors.
func (e Error) Class() smsc.CodeClass {
	if _, ok := errorTable[e]; ok {
		return smsc.CodeKnown
	}
	return smsc.CodeUndefined
}

// Label names e for metrics: the number, which has three digits, else "other".
func (e Error) Label() string {
	switch {
	case e == 0:
		return "0"
	case e > 0 && e <= 999:
		return strconv.Itoa(int(e))
	}
	return "other"
}

// Fate classes a submit answered with e. An unknown code is permanent (see Class).
func (e Error) Fate() smsc.Fate {
	if row, ok := errorTable[e]; ok {
		return row.fate
	}
	return smsc.Permanent
}

// Login reports whether e says that the account may not log in: a person has to act.
func (e Error) Login() bool { return e >= ErrInvalidLogin && e <= 108 }

// Text says what e means.
func (e Error) Text() string {
	if row, ok := errorTable[e]; ok {
		return row.text
	}
	return "unknown error code"
}

// String is how an outcome names the code: "CIMD2 300".
func (e Error) String() string { return fmt.Sprintf("CIMD2 %d", int(e)) }

// statusErrors are the network's errors in a status report (parameter 062).
var statusErrors = map[int]string{
	1: "unknown subscriber", 9: "illegal subscriber", 11: "teleservice not provisioned", 13: "call barred", 15: "CUG reject",
	19: "no SMS support in MS", 20: "error in MS", 21: "facility not supported", 22: "memory capacity exceeded",
	29: "absent subscriber", 30: "MS busy for MT SMS", 36: "network or protocol failure", 44: "illegal equipment",
	60: "no paging response", 61: "GMSC congestion", 63: "HLR timeout", 64: "MSC or SGSN timeout", 70: "SMRSE or TCP error",
	72: "MT congestion", 75: "GPRS suspended", 80: "no paging response via MSC", 81: "IMSI detached",
	82: "roaming restriction", 83: "deregistered in HLR for GSM", 84: "purged for GSM", 85: "no paging response via SGSN",
	86: "GPRS detached", 87: "deregistered in HLR for GPRS", 88: "purged for GPRS", 89: "unidentified subscriber via MSC",
	90: "unidentified subscriber via SGSN", 112: "originator lacks prepaid credit", 113: "destination lacks prepaid credit",
	114: "error in prepaid system",
}

// states are the receipt states of the status codes (parameter 061).
var states = [...]smsc.ReceiptState{
	0: smsc.ReceiptUnknown,
	1: smsc.ReceiptEnroute, // in process
	2: smsc.ReceiptExpired,
	3: smsc.ReceiptUndeliverable, // delivery failed
	4: smsc.ReceiptDelivered,
	5: smsc.ReceiptEnroute,       // no response
	6: smsc.ReceiptUndeliverable, // last no response
	7: smsc.ReceiptDeleted,       // cancelled
	8: smsc.ReceiptDeleted,
	9: smsc.ReceiptDeleted, // by cancel
}

// statusCode is the inverse of states.
func statusCode(s smsc.ReceiptState) int {
	switch s {
	case smsc.ReceiptEnroute, smsc.ReceiptAccepted:
		return 1
	case smsc.ReceiptExpired:
		return 2
	case smsc.ReceiptUndeliverable, smsc.ReceiptRejected:
		return 3
	case smsc.ReceiptDelivered:
		return 4
	case smsc.ReceiptDeleted:
		return 8
	default:
		return 0
	}
}
