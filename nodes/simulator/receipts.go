package simulator

import (
	"bufio"
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/cimd2"
	"github.com/ringway-im/ringway/smsc/smpp"
	"github.com/ringway-im/ringway/smsc/text"
)

// Receipts say how this SMSC's receipts look and when they come. The zero value
// is what the specifications describe: SMPP receipts with text and TLVs, ids as
// ten decimal digits, over any session of the account that submitted.
type Receipts struct {
	ResponseID string   `json:"response_id"` // SMPP ids in responses: "" decimal, "hex", "HEX"
	ReceiptID  string   `json:"receipt_id"`  // SMPP ids in receipts: as ResponseID
	IDDigits   int      `json:"id_digits"`   // zeros make ids at least as long, in both; 0: ten in decimal
	Form       string   `json:"form"`        // SMPP: "" text and TLVs, "text", "tlvs", "payload": text in message_payload
	Omit       []string `json:"omit"`        // SMPP: fields left out of the text ("sub", "done date", ...); CIMD2: parameters ("062", "063")
	Case       string   `json:"case"`        // SMPP: keywords and state of the text: "" as specified, "lower", "upper"
	Seconds    bool     `json:"seconds"`     // SMPP: dates of the text with seconds
	NoClass    bool     `json:"no_class"`    // SMPP: esm_class 0, as if it were a message
	UCS2       bool     `json:"ucs2"`        // SMPP: the text in UCS2
	Swapped    bool     `json:"swapped"`     // SMPP: source and destination as in the submit

	First  bool          `json:"first"`  // a receipt goes before the response to its submit, which waits for it for 1 s at most
	Delay  time.Duration `json:"delay"`  // from the message's fate to its receipt
	Bind   string        `json:"bind"`   // which session of the account: "" any, "same" as the submit, "other"
	Before string        `json:"before"` // a receipt that is not final goes ahead: "", "enroute", "accepted"
	Twice  bool          `json:"twice"`  // each comes twice
}

// receiptKeys are the fields of a receipt's text, in the order in which they
// stand (SMPP v3.4 appendix B).
var receiptKeys = []string{"id", "sub", "dlvrd", "submit date", "done date", "stat", "err", "text"}

func (r *Receipts) check() error {
	for _, f := range []struct {
		name, value string
		may         []string
	}{
		{"response_id", r.ResponseID, []string{"", "hex", "HEX"}},
		{"receipt_id", r.ReceiptID, []string{"", "hex", "HEX"}},
		{"form", r.Form, []string{"", "text", "tlvs", "payload"}},
		{"case", r.Case, []string{"", "lower", "upper"}},
		{"bind", r.Bind, []string{"", "same", "other"}},
		{"before", r.Before, []string{"", "enroute", "accepted"}},
	} {
		if !slices.Contains(f.may, f.value) {
			return fmt.Errorf("simulator: %s is %q: give one of %q", f.name, f.value, f.may)
		}
	}
	for _, key := range r.Omit {
		if _, err := parameter(key); err != nil && !slices.Contains(receiptKeys, key) {
			return fmt.Errorf("simulator: omit has %q: give fields of %q, or CIMD2 parameters as three digits", key, receiptKeys)
		}
	}
	if r.IDDigits < 0 || r.IDDigits > 64 {
		return fmt.Errorf("simulator: id_digits is %d: give 0 to 64", r.IDDigits)
	}
	return checkTime("delay", r.Delay)
}

func parameter(key string) (cimd2.Code, error) {
	if len(key) != 3 {
		return 0, fmt.Errorf("simulator: %q is no parameter", key)
	}
	n, err := strconv.ParseUint(key, 10, 16)
	return cimd2.Code(n), err
}

// spell writes an SMPP message id.
func (r *Receipts) spell(n uint64, form string) string {
	switch form {
	case "hex":
		return fmt.Sprintf("%0*x", r.IDDigits, n)
	case "HEX":
		return fmt.Sprintf("%0*X", r.IDDigits, n)
	}
	digits := r.IDDigits
	if digits == 0 {
		return smpp.NewID(smsc.Address{}, time.Time{}, n)
	}
	return fmt.Sprintf("%0*d", digits, n)
}

// plain reports whether receipts look as the protocol's machine writes them.
func (r *Receipts) plain() bool {
	return r.Form == "" && len(r.Omit) == 0 && r.Case == "" && !r.Seconds && !r.NoClass && !r.UCS2 && !r.Swapped
}

// disguise rewrites a receipt as the machine wrote it.
func (r *Receipts) disguise(protocol string, octets []byte, report *smsc.ServerReport) ([]byte, error) {
	if protocol == cimd2.Name {
		p, err := cimd2.Decode(octets)
		if err != nil {
			return nil, fmt.Errorf("simulator: %w", err)
		}
		p.Params = slices.DeleteFunc(p.Params, func(param cimd2.Param) bool {
			return slices.ContainsFunc(r.Omit, func(key string) bool {
				code, err := parameter(key)
				return err == nil && code == param.Code
			})
		})
		return p.Append(nil)
	}
	packet, err := smpp.Read(bufio.NewReader(bytes.NewReader(octets)))
	if err != nil {
		return nil, fmt.Errorf("simulator: %w", err)
	}
	p, ok := packet.(*smpp.DeliverSM)
	if !ok {
		return nil, fmt.Errorf("simulator: %T is no receipt", packet)
	}
	body := r.body(string(p.ShortMessage), report)
	if r.UCS2 {
		body, p.DataCoding = text.EncodeUCS2(text.DecodeGSM7(body)), smpp.DataCoding(text.UCS2, -1)
	}
	p.ShortMessage = body
	switch r.Form {
	case "text":
		p.TLVs = nil
	case "tlvs":
		p.ShortMessage = nil
	case "payload":
		p.ShortMessage = nil
		p.TLVs = smpp.TLVs{{Tag: smpp.TagMessagePayload, Value: body}}
	}
	if r.NoClass {
		p.ESMClass = 0
	}
	if r.Swapped {
		p.SourceAddrTON, p.DestAddrTON = p.DestAddrTON, p.SourceAddrTON
		p.SourceAddrNPI, p.DestAddrNPI = p.DestAddrNPI, p.SourceAddrNPI
		p.SourceAddr, p.DestinationAddr = p.DestinationAddr, p.SourceAddr
	}
	return smpp.Append(nil, p)
}

// body rewrites a receipt's text.
func (r *Receipts) body(standard string, report *smsc.ServerReport) []byte {
	const withSeconds = "060102150405"
	var b []byte
	rest := standard
	for i, key := range receiptKeys {
		value, ok := strings.CutPrefix(rest, key+":")
		if !ok {
			continue
		}
		rest = ""
		for _, next := range receiptKeys[i+1:] {
			if before, after, found := strings.Cut(value, " "+next+":"); found {
				value, rest = before, next+":"+after
				break
			}
		}
		if slices.Contains(r.Omit, key) {
			continue
		}
		switch {
		case key == "submit date" && r.Seconds:
			value = report.Submitted.UTC().Format(withSeconds)
		case key == "done date" && r.Seconds:
			value = report.Done.UTC().Format(withSeconds)
		}
		switch {
		case r.Case == "lower" && key == "stat":
			value = strings.ToLower(value)
		case r.Case == "upper":
			key = strings.ToUpper(key)
		}
		if len(b) > 0 {
			b = append(b, ' ')
		}
		b = append(append(append(b, key...), ':'), value...)
	}
	return b
}
