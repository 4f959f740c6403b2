package session

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringway-im/ringway/messages"
)

func TestI9_StopAndWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, options{})
		e.handOn(message(1, "+639170000001", "one"))
		e.handOn(message(2, "+639170000002", "two"))
		answer := e.smsc.expect("one")
		e.smsc.silent(9 * time.Second) // two waits for the answer to one
		answer(accepted("a"))
		r := e.want(1, messages.State_PROCESSED)
		if len(r.Parts) != 1 || r.Parts[0].SmscId != "a" || r.Attempts != 1 || r.PossibleDuplicate {
			t.Errorf("result %v", r)
		}
		e.smsc.expect("two")(accepted("b"))
		e.want(2, messages.State_PROCESSED)
	})
}
