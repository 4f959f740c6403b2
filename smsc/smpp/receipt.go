package smpp

import (
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/text"
)

// MessageState is a message_state (SMPP v3.4 §5.2.28; 0 and 9: v5.0).
type MessageState uint8

// The message states.
const (
	StateScheduled     MessageState = 0
	StateEnroute       MessageState = 1
	StateDelivered     MessageState = 2
	StateExpired       MessageState = 3
	StateDeleted       MessageState = 4
	StateUndeliverable MessageState = 5
	StateAccepted      MessageState = 6
	StateUnknown       MessageState = 7
	StateRejected      MessageState = 8
	StateSkipped       MessageState = 9
)

// receiptStates: the word of a receipt's text, and what it means, by state.
// ACCEPTD is not final here: some SMSCs send DELIVRD after it.
var receiptStates = [...]struct {
	word  string
	state smsc.ReceiptState
}{
	StateScheduled:     {"SCHEDULED", smsc.ReceiptEnroute},
	StateEnroute:       {"ENROUTE", smsc.ReceiptEnroute},
	StateDelivered:     {"DELIVRD", smsc.ReceiptDelivered},
	StateExpired:       {"EXPIRED", smsc.ReceiptExpired},
	StateDeleted:       {"DELETED", smsc.ReceiptDeleted},
	StateUndeliverable: {"UNDELIV", smsc.ReceiptUndeliverable},
	StateAccepted:      {"ACCEPTD", smsc.ReceiptAccepted},
	StateUnknown:       {"UNKNOWN", smsc.ReceiptUnknown},
	StateRejected:      {"REJECTD", smsc.ReceiptRejected},
	StateSkipped:       {"SKIPPED", smsc.ReceiptUndeliverable},
}

// Receipt returns the neutral state.
func (s MessageState) Receipt() smsc.ReceiptState {
	if int(s) < len(receiptStates) {
		return receiptStates[s].state
	}
	return smsc.ReceiptUnknown
}

// messageState is the inverse of Receipt.
func messageState(r smsc.ReceiptState) MessageState {
	for s := StateEnroute; s <= StateRejected; s++ {
		if s.Receipt() == r {
			return s
		}
	}
	return StateUnknown
}

// respondedID spells an id from submit_sm_resp. Except with IDText ids are
// compared as numbers: lower case, no leading zeros.
func respondedID(f smsc.IDForm, id string) string {
	switch f {
	case smsc.IDHexToDecimal, smsc.IDHex:
		return rebase(id, 16, 16)
	case smsc.IDDecimalToHex, smsc.IDDecimal:
		return rebase(id, 10, 10)
	}
	return strings.TrimSpace(id)
}

// receiptedID spells an id from a receipt as respondedID does.
func receiptedID(f smsc.IDForm, id string) string {
	switch f {
	case smsc.IDHexToDecimal:
		return rebase(id, 10, 16)
	case smsc.IDDecimalToHex:
		return rebase(id, 16, 10)
	}
	return respondedID(f, id)
}

func rebase(id string, from, to int) string {
	id = strings.TrimSpace(id)
	if id == "" || len(id) > messageIDSize || id[0] == '+' || id[0] == '-' {
		return id
	}
	n, ok := new(big.Int).SetString(id, from)
	if !ok {
		return id
	}
	return n.Text(to)
}

// receipt reads a delivery receipt (SMPP v3.4 appendix B calls its text vendor
// specific, so it is read leniently); ok is false for an ordinary message. TLVs
// come before the text. Some SMSCs leave esm_class 0: then the text must be a
// complete receipt, because a person could have typed it.
func (p *SubmitSM) receipt(part smsc.Part, q *smsc.Quirks) (r smsc.Receipt, ok bool) {
	kind := p.ESMClass & esmTypeMask
	if kind != 0 && kind != esmTypeReceipt && kind != esmTypeIntermediate {
		return smsc.Receipt{}, false
	}
	id, hasID := p.TLVs.Text(TagReceiptedMessageID)
	state, hasState := p.TLVs.Uint8(TagMessageState)
	var words receiptWords
	if kind != 0 || hasID || beginsLikeReceipt(part) {
		words = parseReceipt(receiptText(part))
	}
	if q.Packed && kind != 0 && words.id == "" && words.state == smsc.ReceiptUnknown {
		words = parseReceipt(string(p.ShortMessage)) // receipts are rarely packed
	}
	if kind == 0 && !(hasID && hasState) && !words.whole {
		return smsc.Receipt{}, false
	}
	r = smsc.Receipt{ID: words.id, State: words.state, Code: words.err, Key: p.key()}
	if hasID && id != "" {
		r.ID = id
	}
	r.ID = receiptedID(q.ReceiptIDs, r.ID)
	if hasState {
		r.State = MessageState(state).Receipt()
	}
	if e, ok := p.TLVs.NetworkError(); ok {
		r.Code = fmt.Sprintf("%03d", e.Code)
	}
	return r, true
}

// beginsLikeReceipt spares ordinary messages the parsing.
func beginsLikeReceipt(p smsc.Part) bool {
	if p.Coding == text.UCS2 {
		return len(p.Data) > 5 && p.Data[1]|0x20 == 'i' && p.Data[3]|0x20 == 'd' && p.Data[5] == ':'
	}
	return len(p.Data) > 2 && p.Data[0]|0x20 == 'i' && p.Data[1]|0x20 == 'd' && p.Data[2] == ':'
}

// receiptText returns the text as ASCII, whatever its coding says.
func receiptText(p smsc.Part) string {
	if p.Coding == text.UCS2 && len(p.Data)%2 == 0 {
		return text.DecodeUCS2(p.Data)
	}
	return string(p.Data)
}

type receiptWords struct {
	id, err string
	state   smsc.ReceiptState
	whole   bool // has what every receipt has
}

var receiptKeys = [...]string{"id:", "sub:", "dlvrd:", "submit date:", "done date:", "stat:", "err:", "text:"}

// parseReceipt finds the values by their keys, in any order and case.
func parseReceipt(s string) receiptWords {
	lower := asciiLower(s)
	const id, doneDate, stat, errorCode, body = 0, 4, 5, 6, 7
	var at [len(receiptKeys)]int
	end := len(s)
	at[body] = findKey(lower, receiptKeys[body], end)
	if i := at[body]; i > 0 && findKey(lower, receiptKeys[id], i) >= 0 && findKey(lower, receiptKeys[stat], i) >= 0 {
		end = i // what follows is the user's
	}
	for i, key := range receiptKeys[:body] {
		at[i] = findKey(lower, key, end)
	}
	value := func(k int) string {
		if at[k] < 0 {
			return ""
		}
		from, to := at[k]+len(receiptKeys[k]), len(s)
		for _, next := range at {
			if next >= from && next < to {
				to = next
			}
		}
		v := s[from:to]
		if i := strings.IndexAny(v, "\r\n\x00"); i >= 0 {
			v = v[:i]
		}
		return strings.Trim(v, " \t,;")
	}
	w := receiptWords{id: value(id), err: value(errorCode)}
	if i := strings.IndexByte(w.err, ' '); i >= 0 {
		w.err = w.err[:i]
	}
	word := strings.ToUpper(value(stat))
	known := false
	for _, e := range receiptStates {
		if len(word) >= 5 && strings.HasPrefix(word, e.word[:5]) { // also DELIVERED, ACCEPTED, REJECTED
			w.state, known = e.state, true
		}
	}
	w.whole = w.id != "" && known && at[doneDate] > 0
	return w
}

// findKey finds a key that begins a word before end; -1: nowhere.
func findKey(lower, key string, end int) int {
	for from := 0; ; {
		i := strings.Index(lower[from:end], key)
		if i < 0 {
			return -1
		}
		i += from
		if i == 0 || lower[i-1] <= ' ' || lower[i-1] == ',' || lower[i-1] == ';' {
			return i
		}
		from = i + 1
	}
}

// asciiLower keeps every offset, which strings.ToLower does not.
func asciiLower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return dateKeys.Replace(string(b))
}

// dateKeys: two keys in another spelling, of the same length.
var dateKeys = strings.NewReplacer("submit_date:", "submit date:", "done_date:", "done date:")

// formatReceipt writes the text that appendix B of SMPP v3.4 describes. Times
// are in UTC. The message's first 20 characters follow where it is in the GSM
// alphabet, in which the receipt goes as well.
func formatReceipt(r smsc.Receipt, part smsc.Part, submitted, done time.Time) []byte {
	const date = "0601021504"
	delivered := 0
	if r.State == smsc.ReceiptDelivered {
		delivered = 1
	}
	code := r.Code
	if code == "" {
		code = "000"
	}
	start := part.Data
	if part.Coding != text.GSM7 {
		start = nil
	}
	start = start[:min(len(start), 20)]
	if n := len(start); n > 0 && start[n-1] == 0x1B { // never half an escape sequence
		start = start[:n-1]
	}
	b := fmt.Appendf(nil, "id:%s sub:001 dlvrd:%03d submit date:%s done date:%s stat:%s err:%s text:",
		r.ID, delivered, submitted.UTC().Format(date), done.UTC().Format(date),
		receiptStates[messageState(r.State)].word, code)
	return append(b, start...)
}
