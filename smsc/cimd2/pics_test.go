package cimd2

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/ringway-im/ringway/smsc"
)

// docs/conformance-cimd2.md is made here, of the rules that the code follows
// and of what is claimed below. TestPICS fails when a claim is missing, names a
// test that does not exist, or the file says something else.
//
//	go test ./smsc/cimd2 -run PICS -update

var update = flag.Bool("update", false, "write docs/conformance-cimd2.md")

const picsFile = "../../docs/conformance-cimd2.md"

// claim says what a role does with an operation or parameter, and which tests
// show it. Roles: "sends", "reads", "answers", or what is particular; "codec":
// packets with it can be made, written and read, but no machine does by itself.
type claim struct{ esme, centre, tests string }

const asked = "sends when asked (smsc.Request)"

var operationClaims = map[Operation]claim{
	Login:               {"sends", "answers", "TestStopAndWait TestLoginRefused TestLoginTimeout TestSubaddress TestServerSession TestServerLogin"},
	Logout:              {"sends, answers", "sends, answers", "TestLogout TestQuirks TestServerSession TestServerLogsOut TestBothEndsAliveAndLogout"},
	Submit:              {"sends", "answers, several destinations too", "TestStopAndWait TestErrorsOfSubmit TestAnyPartComesBack TestServerSession TestServerSeveralDestinations"},
	EnquireStatus:       {asked, "answers, with Manage", "TestRequest TestServerManages"},
	DeliveryRequest:     {"sends, as a retrieving account", "answers", "TestPolling TestServerRetrieving"},
	Cancel:              {asked, "answers, with Manage", "TestRequest TestServerManages"},
	Set:                 {asked, "answers, with Manage: password", "TestRequest TestServerManages"},
	Get:                 {"sends, for the time; else when asked (smsc.Request)", "answers, with Manage: time", "TestTime TestRequest TestServerManages"},
	Deliver:             {"answers", "sends", "TestServedWhileWaiting TestParseDeliverTakesAnything TestServerDelivers TestBothEnds"},
	DeliverStatusReport: {"answers", "sends", "TestServedWhileWaiting TestStatusReport TestServerDelivers"},
	Alive:               {"sends, answers", "sends, answers", "TestAliveWhenIdle TestServedWhileWaiting TestServerSession TestServerAlive TestBothEndsAliveAndLogout"},
	GeneralError:        {"sends, reads", "sends, reads", "TestUnknownOperation TestErrorsOfSubmit TestMalformed"},
	Nack:                {"sends, obeys", "sends, obeys", "TestNack TestNackWithOurParity TestGarbled TestServerNumbers TestServerDelivers"},
}

var parameterClaims = map[Code]claim{
	UserIdentity:           {"sends", "reads", "TestStopAndWait TestServerSession"},
	Password:               {"sends", "reads", "TestStopAndWait TestServerSession TestServerManages"},
	Subaddress:             {"sends", "reads", "TestSubaddress TestServerLogin"},
	WindowSize:             {"sends", "reads, grants or refuses", "TestWindow TestWindowRefused TestServerWindow"},
	DestinationAddress:     {"sends, reads", "sends, reads, repeated too", "TestStopAndWait TestServerSeveralDestinations"},
	OriginatingAddress:     {"sends, reads", "sends, reads", "TestStopAndWait TestServerDelivers"},
	OriginatingIMSI:        {"codec", "codec", "TestEveryParameter"},
	AlphanumericOriginator: {"sends, reads", "reads", "TestAnyPartComesBack TestDeliverFollowsTheRules"},
	VisitedMSC:             {"codec", "codec", "TestEveryParameter"},
	DataCodingScheme:       {"sends, reads", "sends, reads", "TestUserData TestDataCodingScheme"},
	UserDataHeader:         {"sends, reads", "sends, reads", "TestUserData TestAnyPartComesBack"},
	UserData:               {"sends, reads", "sends, reads", "TestUserData TestKannelTexts TestEverySeptetComesBack TestDecodeText"},
	UserDataBinary:         {"sends, reads", "sends, reads", "TestUserData TestPackedBinary TestPackedBehindHeader"},
	TransportType:          {"codec", "hands over", "TestEveryParameter"},
	MessageType:            {"codec", "hands over", "TestEveryParameter"},
	MoreMessages:           {"sends", "reads", "TestUserData TestParseSubmit"},
	OperationTimer:         {"codec", "hands over", "TestEveryParameter"},
	DialogueID:             {"codec", "hands over", "TestEveryParameter"},
	USSDPhase:              {"codec", "hands over", "TestEveryParameter"},
	ServiceCode:            {"codec", "hands over", "TestEveryParameter"},
	ValidityRelative:       {"sends", "reads", "TestValidity TestValidityForm TestParseSubmit"},
	ValidityAbsolute:       {"sends where 050 is too coarse", "reads", "TestValidityForm TestParseSubmit"},
	ProtocolIdentifier:     {"codec", "hands over", "TestEveryParameter TestCheck"},
	FirstDeliveryRelative:  {"codec", "reads", "TestParseSubmit"},
	FirstDeliveryAbsolute:  {"codec", "reads", "TestParseSubmit"},
	ReplyPath:              {"codec", "hands over", "TestEveryParameter TestCheck"},
	StatusReportRequest:    {"sends", "reads", "TestAnyPartComesBack TestParseSubmit"},
	CancelEnabled:          {"codec", "reads", "TestParseSubmit"},
	CancelMode:             {asked, "reads", "TestRequest TestServerManages TestCheck"},
	ServiceCentreTime:      {"reads", "sends, reads", "TestStopAndWait TestServerSession TestServerManages"},
	StatusCode:             {"reads", "sends", "TestStatusReport TestServerManages"},
	StatusError:            {"reads", "sends", "TestStatusReport TestServerManages"},
	DischargeTime:          {"reads", "sends", "TestStatusReport TestServerManages"},
	TariffClass:            {"codec", "hands over", "TestEveryParameter TestCheck"},
	ServiceDescription:     {"codec", "hands over", "TestEveryParameter TestCheck"},
	MessageCount:           {"codec", "sends", "TestServerRetrieving"},
	Priority:               {"codec", "hands over", "TestEveryParameter TestCheck"},
	DeliveryMode:           {"sends", "reads", "TestPolling TestServerRetrieving"},
	ServiceCentreAddress:   {"codec", "codec", "TestEveryParameter"},
	GetParameter:           {"sends", "reads", "TestTime TestRequest TestServerManages"},
	SMSCTime:               {"reads", "sends", "TestTime TestServerManages TestEveryParameter"},
	ErrorCode:              {"sends, reads", "sends, reads", "TestErrorsOfSubmit TestErrorTable TestServerRefuses"},
	ErrorText:              {"sends, reads", "sends", "TestErrorsOfSubmit TestServerRefuses"},
}

var ruleClaims = []struct {
	rule string
	claim
}{
	{"Framing: STX, ETX, TAB behind every parameter; what others wrote is read, and written back octet for octet", claim{"yes", "yes", "TestVectors FuzzRead"}},
	{"Octets outside STX and ETX (banner, line ends) are skipped; a second STX begins the packet anew", claim{"yes", "yes", "TestMalformed TestReadInPieces"}},
	{"8,192 octets without a packet end the connection", claim{"yes", "yes", "TestReadBounds"}},
	{"A value never holds 00, 02, 03, 09", claim{"yes", "yes", "TestAppendRefusesReservedOctets TestMalformed"}},
	{"Parameters keep their order, unknown ones are kept", claim{"yes", "yes", "TestVectors TestCheck"}},
	{"Leading zeros of integers, lower-case hexadecimal, a missing checksum are accepted", claim{"yes", "yes", "TestEveryParameter TestMalformed"}},
	{"Checksum: sent unless switched off; a wrong or malformed one is NACKed and the packet not executed", claim{"yes", "yes", "TestQuirks TestGarbled TestMalformed TestChecksumIsTheSum"}},
	{"A checksum may be required: a packet without one is a damaged one", claim{"yes", "yes, of requests", "TestRequireChecksum TestServerChecksums"}},
	{"Numbers: odd from the ESME, even from the SMSC, wrapping; a response has its request's", claim{"yes", "yes", "TestNumbersWrap TestNumberInUse TestServerDelivers TestServerNumbers"}},
	{"A wrong number is NACKed with the expected one; jumps may be allowed", claim{"accepts jumps", "yes", "TestServerNumbers TestServerNacksAGapOnce"}},
	{"NACK: what is asked for is sent again with all behind it, under the number that is wanted; three in a row end the session", claim{"yes", "yes", "TestNack TestWindow TestNackWithOurParity TestBothEnds"}},
	{"A request that comes again is answered again and not executed again", claim{"yes", "yes", "TestDuplicatesAreAnsweredNotProcessed TestServerSession TestServerSeveralDestinations"}},
	{"A request that arrives whole but breaks the syntax is refused with error 2, out of step NACKed, and answered again when it comes again", claim{"NACKs it", "yes", "TestGarbled TestMalformed TestServerMalformedAgain"}},
	{"Late, unasked and repeated responses are ignored", claim{"yes", "yes", "TestStopAndWait TestServerDelivers TestMalformed"}},
	{"Requests of the other side are served while ours wait", claim{"yes", "yes", "TestServedWhileWaiting TestBothEnds"}},
	{"Stop and wait; a window by 019, given up where it is refused", claim{"yes", "yes", "TestStopAndWait TestWindow TestWindowRefused TestServerWindow"}},
	{"The window is halved when the SMSC throttles, and grows back", claim{"yes", "throttles what exceeds it", "TestWindowShrinks TestServerWindow"}},
	{"Alive when the line is idle; no response, or too many damaged packets, end the session", claim{"yes", "alive; damaged ones by inactivity", "TestAliveWhenIdle TestResponseTimeout TestGarbled TestServerSession TestServerAlive"}},
	{"Logout is sent when nothing is open any more; no response in time ends the session as well", claim{"yes", "yes; new submits are throttled meanwhile", "TestLogout TestServerLogsOut TestBothEndsAliveAndLogout"}},
	{"Every submit has exactly one outcome; unknown when no response came", claim{"yes", "-", "TestEachSubmitIsAnsweredOnce TestResponseTimeout TestDisconnected FuzzESME"}},
	{"Every deliver and status report has exactly one outcome", claim{"-", "yes", "TestServerDelivers FuzzServer"}},
	{"A deliver that cannot be taken now is not answered, and offered again; where the SMSC knows negative answers, with error 710", claim{"yes; 710 by quirk", "yes, reads 7xx", "TestDuplicatesAreAnsweredNotProcessed TestQuirks TestServerDelivers"}},
	{"The SMSC's time is asked for, to say short validities as dates; a refusal, or no answer within 2 s, does no harm", claim{"yes", "answers", "TestTime TestServerManages"}},
	{"A request that breaks a parameter's rule is not sent: a deliver from a name, say, which no operation of the SMSC has a place for", claim{"yes", "yes", "TestAnyPartComesBack TestRequest TestDeliverFollowsTheRules TestServerCannotWrite"}},
	{"A request that breaks a parameter's rule is refused with that parameter's error", claim{"-", "yes", "TestCheck TestMalformed"}},
	{"033: escapes, ISO 8859-1, the letters of ISO 646-FI; written so that no reader errs", claim{"yes", "yes", "TestDecodeText TestEverySeptetComesBack TestKannelTexts"}},
	{"033 in an SMSC's own alphabet: ISO 8859-1, ASCII", claim{"yes", "-", "TestAlphabets TestQuirks"}},
	{"034: octets, UCS2; with the default alphabet packed septets, behind a header from the next septet's border; a last 00 that may be padding is that, or '@' by quirk", claim{"yes", "reads", "TestUserData TestPackedBinary TestPackedBehindHeader TestQuirks"}},
	{"Message class (flash), every data coding scheme of 3GPP 23.038; compressed text is handed over as octets", claim{"yes", "yes", "TestDataCodingScheme TestUserData"}},
	{"Status reports name their message by 021 and 060; all statuses and network errors", claim{"yes", "yes", "TestStatusReport TestStatusErrors"}},
}

// quirkClaims say for each field of smsc.Quirks what the ESME does with it, and which
// tests show it; without tests: it does not concern CIMD2, and why.
var quirkClaims = map[string]struct{ what, tests string }{
	"ReceiptIDs":       {"- (SMPP): a status report names its message by 021 and 060", ""},
	"Alphabet":         {"033 is GSM 03.38, ISO 8859-1 or ASCII, both ways", "TestQuirks TestAlphabets FuzzESME"},
	"Packed":           {"- (SMPP): 034 in the default alphabet is always packed", ""},
	"LongTexts":        {"- (SMPP): parts are marked by a user data header (032)", ""},
	"Numbers":          {"international numbers with `+`, or with the digits alone", "TestQuirks FuzzESME"},
	"NoTLVs":           {"- (SMPP)", ""},
	"AbsoluteTimes":    {"- (SMPP): 051 goes where 050 is too coarse", ""},
	"IA5":              {"- (SMPP)", ""},
	"NoLogoutAnswer":   {"the connection is closed at once behind the logout", "TestQuirks FuzzESME"},
	"NoChecksum":       {"packets go out without a checksum", "TestQuirks FuzzESME"},
	"RequireChecksum":  {"packets that come without a checksum are damaged ones", "TestRequireChecksum FuzzESME"},
	"NegativeDelivers": {"a deliver that cannot be taken now is answered with error 710", "TestQuirks FuzzESME"},
	"TrailingAt":       {"034 in the default alphabet: a last 00 that may be padding is '@'", "TestQuirks FuzzESME"},
	"ServiceType":      {"- (SMPP)", ""},
	"Fates":            {"what an error code means for a submit", "TestQuirks TestClassesOfErrors"},
}

func TestPICS(t *testing.T) {
	tests := testNames(t)
	known := func(of, names string) {
		if names == "" {
			t.Errorf("%s: no test", of)
		}
		for _, name := range strings.Fields(names) {
			if !tests[name] {
				t.Errorf("%s: there is no %s", of, name)
			}
		}
	}
	for o, rule := range operations {
		c, ok := operationClaims[Operation(o)]
		if (rule.name != "") != ok {
			t.Errorf("operation %02d: known %v, claimed %v", o, rule.name != "", ok)
		}
		if ok {
			known(rule.name, c.tests)
		}
	}
	for c, rule := range parameters {
		known(fmt.Sprintf("%v, %s", c, rule.name), parameterClaims[c].tests)
	}
	if len(parameterClaims) != len(parameters) {
		t.Errorf("%d parameters, %d claims", len(parameters), len(parameterClaims))
	}
	for _, r := range ruleClaims {
		known(r.rule, r.tests)
	}
	quirks := reflect.VisibleFields(reflect.TypeFor[smsc.Quirks]())
	for _, f := range quirks {
		c, ok := quirkClaims[f.Name]
		switch {
		case !ok || c.what == "":
			t.Errorf("smsc.Quirks.%s: nothing is claimed", f.Name)
		case c.tests != "" || !strings.HasPrefix(c.what, "- (SMPP)"):
			known("smsc.Quirks."+f.Name, c.tests)
		}
	}
	if len(quirkClaims) != len(quirks) {
		t.Errorf("%d quirks, %d claims", len(quirks), len(quirkClaims))
	}
	want := pics()
	if *update {
		if err := os.WriteFile(picsFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(picsFile); err != nil || string(got) != want {
		t.Errorf("%s says something else, %v: go test ./smsc/cimd2 -run PICS -update", picsFile, err)
	}
}

// testNames are the tests, fuzz targets and benchmarks of this package.
func testNames(t *testing.T) map[string]bool {
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil {
				names[f.Name.Name] = true
			}
		}
	}
	return names
}

// pics is the document.
func pics() string {
	var b strings.Builder
	b.WriteString(`# CIMD2: what is supported

A protocol implementation conformance statement of ` + "`smsc/cimd2`" + `, made by ` + "`go test ./smsc/cimd2 -run PICS -update`" + ` from the
tables that the code follows; the test fails when this file or the code says something else. No public specification
could be cited: the rules are those which independent implementations agree on and were seen to follow on the wire.

Every operation and parameter can be made, written and read in both roles (` + "`Packet`, `Append`, `Decode`, `Check`" + `; tests:
TestVectors, TestEveryParameter, FuzzRead). The columns ESME and SMSC say what the session machines do beyond that. *codec*:
nothing. *hands over*: to its user, in ` + "`smsc.SubmitReceived.Packet` or `smsc.Responded`" + `.

## Operations

| code | response | operation | parameters (mandatory **bold**) | of a positive response | ESME | SMSC | tests |
|---|---|---|---|---|---|---|---|
`)
	for code, o := range operations {
		if o.name == "" {
			continue
		}
		c := operationClaims[Operation(code)]
		response := "-"
		if code < 50 {
			response = fmt.Sprintf("%02d", code+50)
		}
		var request []string
		for _, p := range o.mandatory {
			request = append(request, "**"+p.String()+"**")
		}
		fmt.Fprintf(&b, "| %02d | %s | %s | %s | %s | %s | %s | %s |\n", code, response, strings.ReplaceAll(o.name, "_", " "),
			strings.Join(append(request, list(o.optional)...), " "), strings.Join(list(o.response), " "), c.esme, c.centre, tests(c.tests))
	}
	b.WriteString(`
A negative response has 900 and, from this SMSC, 901. A parameter that an operation does not have is left alone.

## Parameters

| code | parameter | value | refused with | ESME | SMSC | tests |
|---|---|---|---|---|---|---|
`)
	for _, code := range slices.Sorted(maps.Keys(parameters)) {
		p, c := parameters[code], parameterClaims[code]
		fmt.Fprintf(&b, "| %v | %s | %s | %d | %s | %s | %s |\n", code, p.name, p.value(), int(p.fault), c.esme, c.centre, tests(c.tests))
	}
	b.WriteString("\nNot both in one packet: ")
	for i, x := range exclusive {
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "%v and %v (error %d)", x.a, x.b, int(x.fault))
	}
	b.WriteString(`. In a request only 021 of a submit may be repeated (error 2).

## Rules

| rule | ESME | SMSC | tests |
|---|---|---|---|
`)
	for _, r := range ruleClaims {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", r.rule, r.esme, r.centre, tests(r.tests))
	}
	b.WriteString(`
## Deviations of one SMSC

What the ESME does by each field of ` + "`smsc.Quirks`. The SMSC has `smsc.ServerConfig` instead." + `

| field | what follows | tests |
|---|---|---|
`)
	for _, f := range reflect.VisibleFields(reflect.TypeFor[smsc.Quirks]()) {
		c := quirkClaims[f.Name]
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", f.Name, c.what, tests(c.tests))
	}
	b.WriteString(`
## Error codes

What becomes of a submit that is answered with one, unless the SMSC's ` + "`fates`" + ` say otherwise. *temporary*: tried again later;
*permanent*: given up; *throttled*: the whole session pauses, in order; *bad_session*: a new login, the message is kept;
*unknown*: it may have been taken. A code that is not here is permanent, and the operator is told of it (log,
` + "`ringway_smsc_undefined_codes_total`" + `). Tests: TestErrorTable, TestClassesOfErrors.

| code | meaning | class |
|---|---|---|
`)
	for _, e := range slices.Sorted(maps.Keys(errorTable)) {
		fmt.Fprintf(&b, "| %d | %s | %v |\n", int(e), e.Text(), e.Fate())
	}
	b.WriteString(`
## Not supported

- Windows other than one fixed by the login; deliveries are not counted in 019.
- Negative answers to a deliver other than 710 (7xx) are read by the SMSC, but no ESME sends them: older SMSCs know only positive ones.
- What only one source knows of: USSD (041 to 048), virtual SMSCs.
`)
	return b.String()
}

func (r *parameter) value() string {
	switch r.kind {
	case kindInt:
		return fmt.Sprintf("integer %d to %d", r.low, r.high)
	case kindAddress:
		return "number, 1 to 20, `+` before an international one"
	case kindTime:
		return "yymmddhhmmss"
	case kindHex:
		return fmt.Sprintf("hexadecimal, at most %d octets", r.high/2)
	case kindText:
		return fmt.Sprintf("text, at most %d octets as written", r.high)
	}
	return fmt.Sprintf("%d to %d octets", r.low, r.high)
}

func list(codes []Code) (names []string) {
	for _, c := range codes {
		names = append(names, c.String())
	}
	return names
}

func tests(names string) string { return strings.Join(strings.Fields(names), ", ") }
