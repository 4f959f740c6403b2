package smpp

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
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ringway-im/ringway/smsc"
)

var update = flag.Bool("update", false, "write docs/conformance-smpp.md")

const conformanceFile = "../../docs/conformance-smpp.md"

// pduRows: who sends what, and which tests show it. Every command has a row.
var pduRows = []struct {
	commands   []CommandID
	esme, smsc string
	tests      string
}{
	{[]CommandID{CommandBindTransmitter, CommandBindReceiver, CommandBindTransceiver}, "sends", "receives", "TestModes TestServerStates TestServerRefusesBinds"},
	{[]CommandID{CommandBindTransmitter | Response, CommandBindReceiver | Response, CommandBindTransceiver | Response}, "receives", "sends", "TestBindRefused TestServerSpeaksVersion33"},
	{[]CommandID{CommandOutbind}, "receives, where the SMSC dials", "sends", "TestOutbind TestServerOutbind"},
	{[]CommandID{CommandUnbind, CommandUnbind | Response}, "both", "both", "TestLogoutWaitsForWhatIsOpen TestUnbindFromTheSMSC TestUnbindUnanswered TestServerUnbindWaitsForItsSubmits"},
	{[]CommandID{CommandGenericNack}, "both", "both", "TestGenericNack TestMalformedReactions TestServerDelivers"},
	{[]CommandID{CommandSubmitSM, CommandSubmitSM | Response}, "sends, receives the response", "receives, sends the response", "TestStopAndWait TestSubmitSaysWhatThePartSays TestServerAnswersSubmits TestServerReadsASubmit"},
	{[]CommandID{CommandSubmitMulti, CommandSubmitMulti | Response}, "sends when asked to, receives the response", "receives, sends the response", "TestServerSubmitMulti TestRequests"},
	{[]CommandID{CommandDeliverSM, CommandDeliverSM | Response}, "receives, sends the response", "sends, receives the response", "TestDeliveries TestServerDelivers"},
	{[]CommandID{CommandDataSM, CommandDataSM | Response}, "receives, sends the response; sends when asked to", "receives, sends the response", "TestDeliveries TestServerAnswersSubmits TestRequests"},
	{[]CommandID{CommandQuerySM, CommandQuerySM | Response}, "sends when asked to, receives the response", "receives, sends the response", "TestServerQuery TestRequests"},
	{[]CommandID{CommandCancelSM, CommandCancelSM | Response}, "sends when asked to, receives the response", "receives, sends the response", "TestServerCancel TestRequests"},
	{[]CommandID{CommandReplaceSM, CommandReplaceSM | Response}, "sends when asked to, receives the response", "receives, sends the response", "TestServerReplace TestRequests"},
	{[]CommandID{CommandEnquireLink, CommandEnquireLink | Response}, "both", "both", "TestEnquireLink TestServerProbes"},
	{[]CommandID{CommandAlertNotification}, "receives, and ignores", "sends", "TestDeliveries TestServerAlert"},
}

// fieldRows: type (C: C-octet string of so many octets with its NUL) and use of
// each field of a body. Every field of every PDU has a row.
var fieldRows = map[string]struct{ kind, esme, smsc, tests string }{
	"system_id":               {"C 16; any length is read in responses", "the configured user; the SMSC's is not checked", "handed to the login; its own is configured", "TestServerStates TestCheck TestServerSendsNothingTooLong"},
	"password":                {"C 9", "configured, refused at once when longer", "handed to the login", "TestCheck TestServerStates"},
	"system_type":             {"C 13", "configured", "handed to the login", "TestCheck TestServerRefusesBinds"},
	"interface_version":       {"1", "0x34; 0x33 with NoTLVs as transmitter or receiver", "below 0x34: no TLVs are sent", "TestQuirkNoTLVs TestServerSpeaksVersion33"},
	"addr_ton":                {"1", "0", "not looked at", "TestNpmVectorsDecodeToTheirFields"},
	"addr_npi":                {"1", "0", "not looked at", "TestNpmVectorsDecodeToTheirFields"},
	"address_range":           {"C 41", "empty", "handed to the login", "TestServerRefusesBinds"},
	"service_type":            {"C 6", "quirk ServiceType", "handed on", "TestQuirkServiceType TestServerReadsASubmit"},
	"source_addr_ton":         {"1", "by the address", "above 6: RINVSRCTON", "TestQuirkNumbers TestServerReadsASubmit"},
	"source_addr_npi":         {"1", "by the address", "handed on", "TestQuirkNumbers"},
	"source_addr":             {"C 21; 65 in data_sm, alert_notification, and read so in deliver_sm", "by the address", "handed on", "TestLimits TestQuirkNumbers TestAddressesWithPlus"},
	"dest_addr_ton":           {"1", "by the address", "above 6: RINVDSTTON", "TestQuirkNumbers TestServerReadsASubmit"},
	"dest_addr_npi":           {"1", "by the address", "handed on", "TestQuirkNumbers"},
	"destination_addr":        {"C 21; 65 in data_sm, and read so in deliver_sm", "by the address", "empty: RINVDSTADR", "TestLimits TestServerReadsASubmit"},
	"esm_class":               {"1", "sends UDHI; reads UDHI and the message type", "reads UDHI, refuses types that are the SMSC's; sends receipts", "TestSubmitSaysWhatThePartSays TestReceiptVariants TestServerReadsASubmit"},
	"protocol_id":             {"1", "0", "not looked at", "TestNpmVectorsDecodeToTheirFields"},
	"priority_flag":           {"1", "0", "above 3: RINVPRTFLG", "TestServerReadsASubmit"},
	"schedule_delivery_time":  {"C 1 or 17", "empty", "absolute and relative, handed on", "TestTimes TestServerReadsASubmit TestServerReplace"},
	"validity_period":         {"C 1 or 17", "relative; absolute by quirk", "absolute and relative, handed on", "TestValidity TestTimes TestServerReadsASubmit TestQuirkAbsoluteTimes"},
	"registered_delivery":     {"1", "0 or 1", "receipts and intermediate notifications handed on", "TestServerReadsASubmit TestWhichReceiptsAreWanted"},
	"replace_if_present_flag": {"1", "0", "handed on; above 1: RINVREPFLAG", "TestServerReadsASubmit"},
	"data_coding":             {"1", "by coding and class", "by coding and class", "TestDataCoding TestQuirkAlphabet TestPartComesBack"},
	"sm_default_msg_id":       {"1", "0", "not 0: RINVDFTMSGID", "TestServerReadsASubmit TestServerReplace"},
	"short_message":           {"1 + 0 to 254", "the part, with its header", "the part, with its header", "TestLimits TestPartComesBack"},
	"message_id":              {"C 65; any length is read in responses; empty in deliver_sm_resp", "kept, spelt as receipts are", "made by the application", "TestIDForms TestQuirkReceiptIDs TestServerQuery TestServerSendsNothingTooLong"},
	"final_date":              {"C 1 or 17", "codec", "sent in UTC", "TestServerQuery"},
	"message_state":           {"1", "codec", "sent", "TestServerQuery"},
	"error_code":              {"1", "codec", "sent", "TestServerQuery"},
	"esme_addr_ton":           {"1", "codec", "sent", "TestServerAlert"},
	"esme_addr_npi":           {"1", "codec", "sent", "TestServerAlert"},
	"esme_addr":               {"C 65", "codec", "sent", "TestServerAlert"},
	"dest_address":            {"1 + 1 to 254 addresses or lists", "codec", "each becomes a submit; lists are configured", "TestServerSubmitMulti TestAppendRefusesWhatSMPPCannotSay"},
	"unsuccess_sme":           {"1 + 0 to 255 addresses (C 21, read up to C 65) and statuses", "codec", "sent", "TestServerSubmitMulti"},
}

// tlvRows: what is done with a parameter beyond keeping it. Others are read,
// written and kept, and their length is checked in a submit.
var tlvRows = map[Tag]struct{ esme, smsc, tests string }{
	TagReceiptedMessageID:   {"reads, with and without NUL; before the text", "sends in receipts", "TestReceiptVariants TestReceiptCrossesTheWire"},
	TagMessageState:         {"reads; before the text", "sends in receipts", "TestReceiptVariants TestReceiptCrossesTheWire"},
	TagNetworkErrorCode:     {"reads; before the text", "sends in receipts", "TestReceiptVariants TestReceiptCrossesTheWire"},
	TagUserMessageReference: {"kept", "reads; sends it in the receipts", "TestReceiptHasTheReference"},
	TagSarMsgRefNum:         {"reads as a header; sends with LongTexts sar", "reads as a header", "TestSarBecomesAHeader TestQuirkLongTexts"},
	TagSarTotalSegments:     {"reads as a header; sends with LongTexts sar", "reads as a header", "TestSarBecomesAHeader TestQuirkLongTexts"},
	TagSarSegmentSeqnum:     {"reads as a header; sends with LongTexts sar", "reads as a header", "TestSarBecomesAHeader TestQuirkLongTexts"},
	TagMessagePayload:       {"reads; sends with LongTexts payload and beyond 254 octets", "reads, beside short_message ROPTPARNOTALLWD; sends beyond 254 octets", "TestQuirkLongTexts TestMalformedReactions TestPartComesBack"},
	TagMoreMessagesToSend:   {"sends", "reads", "TestSubmitSaysWhatThePartSays"},
	TagSCInterfaceVersion:   {"reads: below 0x34 no TLVs are sent", "sends 0x34", "TestQuirkNoTLVs TestServerSpeaksVersion33"},
	TagMSAvailabilityStatus: {"kept", "sends in alert_notification", "TestServerAlert"},
	TagCallbackNum:          {"kept, several times too", "kept, several times too", "TestTLVsOfEveryType"},
}

var ruleRows = []struct{ rule, esme, smsc, tests string }{
	{"Framing: PDUs over many reads, many in one", "yes", "yes", "TestReadCutsTheStream TestBothEndsThroughOctets"},
	{"command_length below 16 or above 65,536: generic_nack RINVCMDLEN, close, nothing allocated", "yes", "yes", "TestLimits TestMalformedReactions"},
	{"Unknown command_id: generic_nack RINVCMDID, go on behind it", "yes", "yes", "TestReadGoesOnBehindABadPDU TestMalformedReactions"},
	{"Unknown response: ignored", "yes", "yes", "TestMalformedReactions"},
	{"Broken field: the response has the status of that field; go on", "yes", "yes", "TestMalformedReactions TestKannelsMalformedPDUs TestEveryTruncationIsAnError"},
	{"Broken response: its status and number still answer the request", "yes", "–", "TestGarbledResponseStillAnswers"},
	{"Octets behind the last field: skipped", "yes", "yes", "TestMalformedReactions"},
	{"Unknown TLVs: kept, never a reason to refuse", "yes", "yes", "TestTLVsOfEveryType TestMalformedReactions"},
	{"Known TLV of a wrong length", "ignored; never sent", "RINVPARLEN; never sent", "TestTLVsOfEveryType TestServerReadsASubmit TestCheckTLVs TestAppendRefusesWhatSMPPCannotSay"},
	{"Fields that are read although they are too long or have to be empty: never sent", "yes", "yes; a response becomes RSYSERR", "TestAppendRefusesWhatSMPPCannotSay TestServerSendsNothingTooLong TestESMEInAnyOrder TestServerInAnyOrder"},
	{"sar_ parameters that are incomplete or senseless: ignored", "yes", "yes", "TestSarBecomesAHeader"},
	{"Responses without a body, negative or not: accepted", "yes", "yes", "TestCapturesDecodeAsTsharkDoes"},
	{"command_status of requests: ignored", "yes", "yes", "TestMalformedReactions"},
	{"Any sequence_number of the peer's is echoed, 0 and above 0x7FFFFFFF too", "yes", "yes", "TestEnquireLink TestMalformedReactions"},
	{"Our sequence numbers: from 1, wrap after 0x7FFFFFFF, skip those that are open", "yes", "yes", "TestSequenceNumbersWrapAndSkipOpenOnes"},
	{"Responses in any order; late, double and unasked ones ignored", "yes", "yes", "TestWindowIsAnsweredInAnyOrder TestStopAndWait TestServerDelivers"},
	{"Response of another kind than the request: ignored", "yes", "yes", "TestStopAndWait TestRequests"},
	{"No response in time: outcome unknown, session closed", "yes", "redelivered later", "TestWindowIsAnsweredInAnyOrder TestServerDelivers"},
	{"Requests of the ESME's user (query_sm, cancel_sm, replace_sm, submit_multi, data_sm): numbered and within the window; one response or error for each", "yes", "–", "TestRequests TestESMEInAnyOrder FuzzESME"},
	{"Exactly one outcome for each submit, whatever happens", "yes", "one for each deliver_sm", "TestESMEInAnyOrder TestServerInAnyOrder FuzzESME FuzzServer"},
	{"generic_nack to a request: its outcome", "yes", "yes", "TestGenericNack TestServerDelivers"},
	{"generic_nack with sequence 0: the line is probed", "yes", "ignored", "TestGenericNack"},
	{"Window: 1 by default; halved by throttling, grows slowly", "yes", "yes", "TestStopAndWait TestWindowShrinksAndGrows TestStopAndWaitStaysOneWhenThrottled"},
	{"The peer's window: more requests than allowed", "RX_T_APPN above 1,024", "RTHROTTLED above SubmitWindow", "TestTooManyUnansweredDeliveries TestServerSubmitWindow"},
	{"Requests of the SMSC while ours are unanswered", "yes", "–", "TestDeliveries"},
	{"enquire_link while the window is full, one at a time; no response: close", "yes", "yes", "TestEnquireLink TestServerProbes"},
	{"enquire_link before the bind: answered", "yes", "yes", "TestOutbind TestMalformedReactions"},
	{"Request in the wrong state", "RX_T_APPN, so that it comes again", "RINVBNDSTS", "TestLogoutWaitsForWhatIsOpen TestServerStates"},
	{"Second bind: RALYBND", "–", "yes", "TestServerStates TestMalformedReactions"},
	{"Refused bind: status told, retried rarely", "yes", "status chosen by the application", "TestBindRefused TestServerRefusesBinds"},
	{"Unbind waits for what is open, at most the response time", "yes", "yes", "TestLogoutWaitsForWhatIsOpen TestUnbindFromTheSMSC TestServerUnbindWaitsForItsSubmits"},
	{"Both unbind at once", "yes", "yes", "TestUnbindFromTheSMSC"},
	{"Unbind is never answered", "closes after a time, or at once with NoLogoutAnswer", "closes after a time", "TestUnbindUnanswered TestQuirkNoLogoutAnswer"},
	{"outbind is answered by bind_receiver on the same connection; on one that we dialled it is ignored", "yes", "–", "TestOutbind"},
	{"Inactivity of the peer", "–", "closes", "TestServerInactivity"},
	{"Credentials that SMPP cannot carry: refused when configured", "yes", "–", "TestCheck"},
	{"Receipts: TLVs, text or both; any order and case; UCS2; esm_class 0; fields missing; odd dates", "reads", "text and TLVs", "TestReceiptVariants TestReceiptCrossesTheWire FuzzReceipt"},
	{"Receipts only as registered_delivery asks", "–", "bits handed on", "TestServerReadsASubmit TestWhichReceiptsAreWanted"},
	{"Receipt before its submit_sm_resp", "handed on", "–", "TestDeliveries"},
	{"Redelivered message: the same key", "yes", "–", "TestKeyRecognisesARedelivery"},
	{"Ids of receipts in another base, case or padding (ReceiptIDs)", "yes", "–", "TestQuirkReceiptIDs TestIDForms"},
	{"Default alphabet that is not GSM (Alphabet)", "yes", "–", "TestQuirkAlphabet"},
	{"Packed septets in data_coding 0 (Packed); a last 00 that may be padding is that, or '@' (TrailingAt)", "yes", "–", "TestQuirkPacked"},
	{"data_coding 1 for the default alphabet (IA5)", "yes", "–", "TestQuirkIA5"},
	{"Validity periods as dates (AbsoluteTimes)", "yes", "–", "TestQuirkAbsoluteTimes"},
	{"Long texts by header, sar_ parameters or message_payload (LongTexts)", "yes", "reads all", "TestQuirkLongTexts"},
	{"Numbers with '+' or without a type (Numbers)", "yes", "'+' read", "TestQuirkNumbers TestAddressesWithPlus"},
	{"No optional parameters (NoTLVs)", "yes", "to ESMEs of v3.3", "TestQuirkNoTLVs TestServerSpeaksVersion33"},
	{"Statuses that mean something else (Fates)", "yes", "–", "TestQuirkFates"},
	{"What is accepted can be written back to something equal", "yes", "yes", "FuzzDecode TestCapturesDecodeAsTsharkDoes"},
	{"No input makes it panic, hang or grow", "yes", "yes", "FuzzDecode FuzzRead FuzzReceipt FuzzESME FuzzServer"},
}

// TestConformanceDocument keeps docs/conformance-smpp.md what the code says:
// every PDU, field, parameter and status is in it, and every test exists.
// quirksOfCIMD2 are no business of SMPP's.
var quirksOfCIMD2 = []string{"NoChecksum", "RequireChecksum", "NegativeDelivers"}

func TestConformanceDocument(t *testing.T) {
	var b strings.Builder
	b.WriteString(`# SMPP v3.4: what is supported

Written by TestConformanceDocument in smsc/smpp (` + "`go test ./smsc/smpp -run Conformance -update`" + `), which also checks that every PDU,
field, parameter and status of the code stands here and that every test exists. ESME: the edge's side. SMSC: the server's side,
which the simulator uses. "codec": read and written, but not used by the session.

## PDUs

All are read and written by the codec: TestNpmVectorsDecodeToTheirFields, TestCapturesDecodeAsTsharkDoes (octets of Kannel, npm smpp,
Net::SMPP and jsmpp), TestEveryTruncationIsAnError, FuzzDecode.

| command_id | PDU | ESME | SMSC | tests |
|---|---|---|---|---|
`)
	tests := testNames(t)
	cite := func(names string) string {
		for _, n := range strings.Fields(names) {
			if !tests[n] {
				t.Errorf("%s does not exist", n)
			}
		}
		if names == "" {
			t.Error("a row without a test")
		}
		return strings.Join(strings.Fields(names), ", ")
	}
	seen := map[CommandID]bool{}
	for _, r := range pduRows {
		for _, c := range r.commands {
			seen[c] = true
			fmt.Fprintf(&b, "| %08X | %v | %s | %s | %s |\n", uint32(c), c, r.esme, r.smsc, cite(r.tests))
		}
	}
	names := map[string]string{"Destinations": "dest_address", "Unsuccess": "unsuccess_sme"} // Go's names to the specification's
	for spec, field := range goNames {
		names[field] = spec
	}
	used := map[string][]string{}
	for c := range CommandID(0x200) {
		for _, c := range []CommandID{c, c | Response} {
			p := newPDU(c)
			if p == nil {
				continue
			}
			if !seen[c] {
				t.Errorf("%v has no row", c)
			}
			typ := reflect.TypeOf(p).Elem()
			for i := range typ.NumField() {
				f := typ.Field(i).Name
				if f == "Header" || f == "TLVs" {
					continue
				}
				if fieldRows[names[f]].kind == "" {
					t.Errorf("%v.%s (%s) has no row", c, f, names[f])
				}
				used[names[f]] = append(used[names[f]], c.String())
			}
		}
	}
	b.WriteString("\n## Fields\n\ncommand_status and sequence_number: see the rules. C n: C-octet string of at most n octets, its NUL among them.\n\n" +
		"| field | octets | in | ESME | SMSC | tests |\n|---|---|---|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(fieldRows)) {
		r := fieldRows[name]
		if len(used[name]) == 0 {
			t.Errorf("no PDU has a %s", name)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", name, r.kind, strings.Join(used[name], ", "), r.esme, r.smsc, cite(r.tests))
	}
	b.WriteString("\n## Optional parameters\n\nAll are read, written and kept; \"kept\": not used by the session. Their length is checked where an ESME submits, and in all that is sent.\n\n" +
		"| tag | parameter | octets | ESME | SMSC | tests |\n|---|---|---|---|---|---|\n")
	for _, tag := range slices.Sorted(maps.Keys(tags)) {
		e, r := tags[tag], tlvRows[tag]
		if r.tests == "" {
			r.esme, r.smsc, r.tests = "kept", "kept", "TestCheckTLVs"
		}
		size := fmt.Sprint(e.least)
		if e.most != e.least {
			size = fmt.Sprintf("%d to %d", e.least, e.most)
		}
		fmt.Fprintf(&b, "| %04X | %s | %s | %s | %s | %s |\n", uint16(tag), e.name, size, r.esme, r.smsc, cite(r.tests))
	}
	b.WriteString("\n## Rules\n\n| rule | ESME | SMSC | tests |\n|---|---|---|---|\n")
	for _, r := range ruleRows {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", r.rule, r.esme, r.smsc, cite(r.tests))
	}
	b.WriteString("\n## Statuses\n\nWhat an answer to a submit means, unless the quirk Fates says otherwise: " + cite("TestEveryStatus TestClassesOfStatuses TestQuirkFates") +
		".\nThose that are not here: 0x107 to 0x112 (v5.0, broadcast) are permanent; the vendor's (0x400 to 0x4FF) and those that nobody has\n" +
		"defined are temporary, tried three times at most, and the operator is told of them (log, `ringway_smsc_undefined_codes_total`).\n\n| status | name | class | the sender is told |\n|---|---|---|---|\n")
	for _, s := range slices.Sorted(maps.Keys(statuses)) {
		if s.Fate() != smsc.Accepted {
			fmt.Fprintf(&b, "| %#02x | ESME_%s | %v | %s |\n", uint32(s), statuses[s].name, s.Fate(), s.Meaning())
		}
	}
	b.WriteString(`
## Not supported, or otherwise than the specification has it

* broadcast_sm and the other operations that v5.0 added: generic_nack RINVCMDID.
* As an ESME query_sm, cancel_sm, replace_sm, submit_multi and data_sm are sent by the machine when its user asks; the edge's session has no use for them.
* Predefined messages (sm_default_msg_id): refused with RINVDFTMSGID.
* data_sm of an ESME that is bound as a receiver: refused with RINVBNDSTS.
* deliver_sm on a session that is bound as a transmitter: accepted, because refusing it would lose it.
* Numbering plan indicators that are not defined: accepted, because many ESMEs write there what comes to hand.
* replace_sm of an ESME bound as a transceiver: accepted (the table of states in v3.4 leaves it out).
* ACCEPTD in a receipt is not final: some SMSCs send DELIVRD after it.
* An SMSC that leaves sc_interface_version out is taken for one of v3.4.
`)
	got := b.String()
	for _, f := range reflect.VisibleFields(reflect.TypeFor[smsc.Quirks]()) {
		if named := regexp.MustCompile(`\b` + f.Name + `\b`).MatchString(got); named == slices.Contains(quirksOfCIMD2, f.Name) {
			t.Errorf("smsc.Quirks.%s is named: %v; a deviation of an SMPP SMSC needs a row, another has none", f.Name, named)
		}
	}
	if *update {
		if err := os.WriteFile(conformanceFile, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(conformanceFile)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Error("docs/conformance-smpp.md is not what the code says: run go test ./smsc/smpp -run Conformance -update")
	}
}

// testNames returns the tests and fuzz targets of this package.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil {
				names[fn.Name.Name] = true
			}
		}
	}
	return names
}
