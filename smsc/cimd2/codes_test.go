package cimd2

import (
	"testing"

	"github.com/ringway-im/ringway/smsc"
)

// An answer says whether CIMD2 defines its code: the operator is told of one that it
// does not, unless he has said what it means.
func TestClassesOfErrors(t *testing.T) {
	for e, want := range map[Error]struct {
		class smsc.CodeClass
		label string
	}{
		0: {smsc.CodeKnown, "0"}, 9: {smsc.CodeKnown, "9"}, 900: {smsc.CodeKnown, "900"},
		11: {smsc.CodeUndefined, "11"}, 317: {smsc.CodeUndefined, "317"}, 999: {smsc.CodeUndefined, "999"},
		1000: {smsc.CodeUndefined, "other"}, -1: {smsc.CodeUndefined, "other"},
	} {
		if e.Class() != want.class || e.Label() != want.label {
			t.Errorf("%v: %v %q, want %v %q", e, e.Class(), e.Label(), want.class, want.label)
		}
	}
	for _, c := range []struct {
		fates  map[uint32]smsc.Fate
		answer string
		want   smsc.Outcome
	}{
		{nil, "53:003·060:1", smsc.Outcome{Fate: smsc.Accepted, Status: "0"}},
		{nil, "53:003·900:300", smsc.Outcome{Fate: smsc.Permanent, Status: "300"}},
		{nil, "53:003·900:450", smsc.Outcome{Fate: smsc.Permanent, Class: smsc.CodeUndefined, Status: "450"}},
		{nil, "53:003·900:7777", smsc.Outcome{Fate: smsc.Permanent, Class: smsc.CodeUndefined, Status: "other"}},
		{map[uint32]smsc.Fate{450: smsc.Temporary}, "53:003·900:450", smsc.Outcome{Fate: smsc.Temporary, Status: "450"}},
	} {
		cfg := testConfig
		cfg.Quirks.Fates = c.fates
		s := client(t, cfg)
		s.step(smsc.Connected{}, "> 01:001·010:user1·011:pass1", "set login 5s")
		s.in("51:001", "stop login", "bound", "set idle 20s")
		s.step(sub(1, "x"), "> 03:003"+submitted1+"x", "set response 003 10s")
		var got *smsc.Outcome
		for _, effect := range s.m.Handle(in(t, c.answer), nil) {
			if a, ok := effect.(smsc.Answered); ok {
				got = &a.Outcome
			}
		}
		if got == nil || got.Fate != c.want.Fate || got.Class != c.want.Class || got.Status != c.want.Status {
			t.Errorf("%s with %v: %+v, want %+v", c.answer, c.fates, got, c.want)
		}
	}
}
