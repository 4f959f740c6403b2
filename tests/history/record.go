// Package history decides from records of what clients, hub, edge and SMSC saw
// whether the promise was kept: nothing acknowledged is missing, nothing is
// doubled beyond what the hop to the SMSC leaves in doubt, nothing fails or expires
// without a ground, order holds, states only move forward, and the rings' pointers
// obey their rules.
//
//	client ──accepted, state, inbox──┐
//	hub    ──history, pointers───────┤
//	edge   ──pointers────────────────┼──▶ Checker ──▶ Verdict
//	SMSC   ──taken, refused, receipt,┤
//	         closed, handed, acked───┘
//
// Records are JSON, one a line (see [Record]). Only the order of the records of
// one observer (By) means anything: files of different observers may be read one
// after the other or mixed. The rules are in [Rule].
package history

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Kind says what an observer saw.
type Kind string

// The kinds of records, and the fields each needs beside Kind and By.
const (
	// Accepted (client): the hub has acknowledged a message. Msg, ID, Conn, To;
	// Class; Until, Unfit. In the order in which the connection sent them.
	Accepted Kind = "accepted"
	// State (client): the sender was told a state. ID, State; N where the
	// observer's events are numbered: a number seen before is a replay. At, if it is
	// expired.
	State Kind = "state"
	// Inbox (client): a person got a message. Msg, ID, N. By names the person. An id
	// again under the same N was read again. Without N nothing is said of an id that
	// comes again.
	Inbox Kind = "inbox"

	// Taken (SMSC): a submit was accepted. Msg, Session; Part, Parts; Unanswered
	// if the SMSC kept its response to itself.
	Taken Kind = "taken"
	// Refused (SMSC): a submit was answered otherwise. Msg, Session; Part, Parts,
	// Fate.
	Refused Kind = "refused"
	// Receipt (SMSC): it said to the edge what became of a part, for good. Msg, State
	// (delivered, failed or expired); Part, Parts.
	Receipt Kind = "receipt"
	// Closed (SMSC): a session ended, whoever ended it. Session, a name that no
	// other connection ever has.
	Closed Kind = "closed"
	// Handed (SMSC): a message of a handset was given to the edge. Msg, From, To, Session.
	Handed Kind = "handed"
	// Acked (SMSC): the edge has acknowledged it. Msg, From, To.
	Acked Kind = "acked"

	// History (hub): a message's whole history, read at the end. ID, States.
	History Kind = "history"
	// Pointers (hub, edge): where a ring stands. Ring, Role, Life, Slots,
	// Retrieved, Sent, Confirmed, Processed.
	Pointers Kind = "pointers"

	// End (harness): everything was left to come to rest before the observers
	// stopped: what is missing now is lost.
	End Kind = "end"
)

// Record is one line of a history. Which fields a kind needs stands at the kinds.
type Record struct {
	Kind Kind   `json:"kind"`
	By   string `json:"by"`              // observer, "client/alice" or "smsc/globe" say
	At   int64  `json:"at_us,omitempty"` // the observer's clock, Unix time in µs; nothing is decided by it

	Msg  string `json:"msg,omitempty"`  // names a message for all observers alike: a text that occurs once, say
	ID   string `json:"id,omitempty"`   // the hub's name for it
	Conn string `json:"conn,omitempty"` // of the sender
	From string `json:"from,omitempty"`
	// To is the recipient: '+' begins a handset's number, else it is a person. On
	// the way up it is the number that the handset addressed.
	To    string `json:"to,omitempty"`
	Class int    `json:"class,omitempty"`
	// Until is when its time runs out, by its own deadline or by what the operator
	// has set: Unix time in µs, to the millisecond; 0: never.
	Until int64 `json:"until_us,omitempty"`
	Unfit bool  `json:"unfit,omitempty"` // no session can send it: its text, say, in the one alphabet allowed

	Session    string `json:"session,omitempty"`
	Part       int    `json:"part,omitempty"`  // from 0
	Parts      int    `json:"parts,omitempty"` // 0 means 1
	Unanswered bool   `json:"unanswered,omitempty"`
	// Fate is what a refusal means to the edge: permanent; temporary; undefined (for
	// now, by a code that nobody has defined); throttled and bad_session, which concern
	// the session. Empty: not known, so that it may have been for good.
	Fate string `json:"fate,omitempty"`

	N      uint64   `json:"n,omitempty"`
	State  string   `json:"state,omitempty"`
	States []string `json:"states,omitempty"`

	Ring      string `json:"ring,omitempty"` // "down" or "up", with the edge's name before it where there are several
	Role      string `json:"role,omitempty"` // "sender" or "receiver"
	Life      int    `json:"life,omitempty"` // grows with each start of the process
	Slots     uint64 `json:"slots,omitempty"`
	Retrieved uint64 `json:"retrieved,omitempty"`
	Sent      uint64 `json:"sent,omitempty"`
	Confirmed uint64 `json:"confirmed,omitempty"`
	Processed uint64 `json:"processed,omitempty"`
}

// ranks are the states of a message by standing.
var ranks = map[string]uint8{
	"accepted": 1, "retrieved": 2, "sent": 3, "confirmed": 4, "deferred": 5, "unknown": 6,
	"processed": 7, "delivered": 8, "failed": 9, "expired": 10,
}

const (
	rankUnknown   = 6
	rankProcessed = 7
	rankDelivered = 8
	rankFailed    = 9
	rankExpired   = 10
)

var fates = []string{"", "permanent", "temporary", "undefined", "throttled", "bad_session"}

// ErrRecord is a record that lacks something or names what does not exist: the
// harness that wrote it is at fault.
var ErrRecord = errors.New("history: malformed record")

const maxParts = 255 // of one text: TS 23.040 §9.2.3.24.1 has one octet

// check refuses what no harness means.
func (r *Record) check() error {
	bad := func(what string) error { return fmt.Errorf("%w: %s by %q %s", ErrRecord, r.Kind, r.By, what) }
	if r.By == "" && r.Kind != End {
		return bad("names no observer")
	}
	var need []string
	switch r.Kind {
	case Accepted:
		need = []string{"msg", r.Msg, "id", r.ID, "conn", r.Conn, "to", r.To}
	case State:
		need = []string{"id", r.ID}
		if ranks[r.State] == 0 {
			return bad(fmt.Sprintf("has state %q, which is none", r.State))
		}
	case Inbox:
		need = []string{"msg", r.Msg, "id", r.ID}
	case Taken, Refused:
		need = []string{"msg", r.Msg, "session", r.Session}
		if !slices.Contains(fates, r.Fate) {
			return bad(fmt.Sprintf("has fate %q, which is none", r.Fate))
		}
	case Receipt:
		need = []string{"msg", r.Msg}
		if ranks[r.State] < rankDelivered {
			return bad(fmt.Sprintf("has state %q; want delivered, failed or expired", r.State))
		}
	case Closed:
		need = []string{"session", r.Session}
	case Handed:
		need = []string{"msg", r.Msg, "from", r.From, "to", r.To, "session", r.Session}
	case Acked:
		need = []string{"msg", r.Msg, "from", r.From, "to", r.To}
	case History:
		need = []string{"id", r.ID}
		for _, s := range r.States {
			if ranks[s] == 0 {
				return bad(fmt.Sprintf("has state %q, which is none", s))
			}
		}
	case Pointers:
		need = []string{"ring", r.Ring}
		if r.Role != "sender" && r.Role != "receiver" || r.Slots == 0 {
			return bad(fmt.Sprintf("has role %q and %d slots; want sender or receiver, and some", r.Role, r.Slots))
		}
	case End:
	default:
		return bad("is of no known kind")
	}
	if r.Parts < 0 || r.Parts > maxParts || r.Part < 0 || r.Part >= max(r.Parts, 1) {
		return bad(fmt.Sprintf("has part %d of %d", r.Part, r.Parts))
	}
	for i := 0; i < len(need); i += 2 {
		if need[i+1] == "" {
			return bad("lacks " + need[i])
		}
	}
	return nil
}

// Writer writes records as JSON lines.
type Writer struct{ out *json.Encoder }

// NewWriter returns a Writer. The caller buffers and closes w.
func NewWriter(w io.Writer) *Writer { return &Writer{json.NewEncoder(w)} }

// Write writes one record.
func (w *Writer) Write(r Record) error {
	if err := r.check(); err != nil {
		return err
	}
	if err := w.out.Encode(r); err != nil {
		return fmt.Errorf("history: write: %w", err)
	}
	return nil
}

const maxLine = 1 << 20 // octets

// Read adds all records of r, JSON lines. Empty lines are passed over.
func (c *Checker) Read(r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 64<<10), maxLine)
	for n := 1; lines.Scan(); n++ {
		if len(lines.Bytes()) == 0 {
			continue
		}
		var record Record
		if err := json.Unmarshal(lines.Bytes(), &record); err != nil {
			return fmt.Errorf("%w: line %d is no JSON record: %w", ErrRecord, n, err)
		}
		if err := c.Add(record); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("history: read: %w", err)
	}
	return nil
}
