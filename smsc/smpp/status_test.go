package smpp

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ringway-im/ringway/smsc"
)

// TestEveryStatus is the table of what each command_status means for a message:
// P permanent, T temporary, R throttled (the whole session), C the session's fault.
func TestEveryStatus(t *testing.T) {
	const P, T, R, C = smsc.Permanent, smsc.Temporary, smsc.Throttled, smsc.BadSession
	table := []struct {
		code Status
		name string
		fate smsc.Fate
	}{
		{0x00, "ROK", smsc.Accepted},
		{0x01, "RINVMSGLEN", P},
		{0x02, "RINVCMDLEN", P},
		{0x03, "RINVCMDID", P},
		{0x04, "RINVBNDSTS", C},
		{0x05, "RALYBND", C},
		{0x06, "RINVPRTFLG", P},
		{0x07, "RINVREGDLVFLG", P},
		{0x08, "RSYSERR", T},
		{0x0A, "RINVSRCADR", P},
		{0x0B, "RINVDSTADR", P},
		{0x0C, "RINVMSGID", P},
		{0x0D, "RBINDFAIL", C},
		{0x0E, "RINVPASWD", C},
		{0x0F, "RINVSYSID", C},
		{0x11, "RCANCELFAIL", P},
		{0x13, "RREPLACEFAIL", P},
		{0x14, "RMSGQFUL", R},
		{0x15, "RINVSERTYP", P},
		{0x33, "RINVNUMDESTS", P},
		{0x34, "RINVDLNAME", P},
		{0x40, "RINVDESTFLAG", P},
		{0x42, "RINVSUBREP", P},
		{0x43, "RINVESMCLASS", P},
		{0x44, "RCNTSUBDL", P},
		{0x45, "RSUBMITFAIL", T},
		{0x48, "RINVSRCTON", P},
		{0x49, "RINVSRCNPI", P},
		{0x50, "RINVDSTTON", P},
		{0x51, "RINVDSTNPI", P},
		{0x53, "RINVSYSTYP", C},
		{0x54, "RINVREPFLAG", P},
		{0x55, "RINVNUMMSGS", P},
		{0x58, "RTHROTTLED", R},
		{0x61, "RINVSCHED", P},
		{0x62, "RINVEXPIRY", P},
		{0x63, "RINVDFTMSGID", P},
		{0x64, "RX_T_APPN", T},
		{0x65, "RX_P_APPN", P},
		{0x66, "RX_R_APPN", P},
		{0x67, "RQUERYFAIL", P},
		{0xC0, "RINVOPTPARSTREAM", P},
		{0xC1, "ROPTPARNOTALLWD", P},
		{0xC2, "RINVPARLEN", P},
		{0xC3, "RMISSINGOPTPARAM", P},
		{0xC4, "RINVOPTPARAMVAL", P},
		{0xFE, "RDELIVERYFAILURE", P},
		{0xFF, "RUNKNOWNERR", T},
		{0x100, "RSERTYPUNAUTH", P},
		{0x101, "RPROHIBITED", P},
		{0x102, "RSERTYPUNAVAIL", T},
		{0x103, "RSERTYPDENIED", P},
		{0x104, "RINVDCS", P},
		{0x105, "RINVSRCADDRSUBUNIT", P},
		{0x106, "RINVDSTADDRSUBUNIT", P},
		{0x107, "", P}, // v5.0 broadcast
		{0x112, "", P},
		{0x400, "", T}, // vendors' own
		{0x4FF, "", T},
		{0x09, "", T}, // undefined
		{0x4A, "", T},
		{0x600, "", T},
		{0xFFFFFFFF, "", T},
	}
	named := 0
	for _, c := range table {
		if c.name != "" {
			named++
			if got := c.code.String(); !strings.HasPrefix(got, "ESME_"+c.name+" (0x") {
				t.Errorf("%#x is %s, not %s", uint32(c.code), got, c.name)
			}
		}
		if c.code.Fate() != c.fate {
			t.Errorf("%v: %v, not %v", c.code, c.code.Fate(), c.fate)
		}
		if words := c.code.Meaning(); len(words) < 8 || strings.Contains(words, "ESME_") {
			t.Errorf("%v has no words for a sender: %q", c.code, words)
		}
		o := c.code.outcome("id")
		if o.Fate != c.fate || (o.ID != "") != (c.code == OK) || (o.Text != "" && o.Code != "") != (c.code != OK) {
			t.Errorf("%v: %+v", c.code, o)
		}
		if back, ok := ParseStatus(c.code.String()); !ok || back != c.code {
			t.Errorf("%v comes back as %v", c.code, back)
		}
	}
	if named != len(statuses) {
		t.Errorf("%d statuses here, %d are known", named, len(statuses))
	}
}

// TestClassesOfStatuses: what nobody has defined is told from what the vendor and
// SMPP have, in the answer to a submit too; the operator's word comes first.
func TestClassesOfStatuses(t *testing.T) {
	for _, c := range []struct {
		code  Status
		class smsc.CodeClass
		label string
	}{
		{OK, smsc.CodeKnown, "ESME_ROK"},
		{RTHROTTLED, smsc.CodeKnown, "ESME_RTHROTTLED"},
		{RMSGQFUL, smsc.CodeKnown, "ESME_RMSGQFUL"},
		{0x09, smsc.CodeUndefined, "other"}, // a gap
		{0x107, smsc.CodeKnown, "0x107"},
		{0x112, smsc.CodeKnown, "0x112"},
		{0x113, smsc.CodeUndefined, "other"},
		{0x3FF, smsc.CodeUndefined, "other"},
		{0x400, smsc.CodeVendor, "0x400"},
		{0x4FF, smsc.CodeVendor, "0x4FF"},
		{0x500, smsc.CodeUndefined, "other"},
		{0xFFFFFFFF, smsc.CodeUndefined, "other"},
	} {
		if got := c.code.Class(); got != c.class {
			t.Errorf("%v: %v, want %v", c.code, got, c.class)
		}
		if o := c.code.outcome("id"); o.Class != c.class || o.Status != c.label {
			t.Errorf("%v: %+v, want %v %q", c.code, o, c.class, c.label)
		}
	}
	labels := map[string]Status{}
	for s := range statuses {
		if other, taken := labels[s.Label()]; taken {
			t.Errorf("%v and %v are both %q", s, other, s.Label())
		}
		labels[s.Label()] = s
	}
	s := bound(t, quirky(smsc.Quirks{Fates: map[uint32]smsc.Fate{0x401: smsc.Temporary}}))
	for i, c := range []struct {
		status Status
		class  smsc.CodeClass
	}{{0x401, smsc.CodeKnown}, {0x402, smsc.CodeVendor}, {0x600, smsc.CodeUndefined}} {
		q := uint32(i + 2)
		s.on(submit(7, "a"), fmt.Sprintf(`submit_sm %d "a"`, q), fmt.Sprintf("timer response %d 10s", q))
		do := s.m.Handle(smsc.Received{Packet: submitResp(q, c.status, "")}, nil)
		i := slices.IndexFunc(do, func(e smsc.Effect) bool { _, ok := e.(smsc.Answered); return ok })
		if i < 0 || do[i].(smsc.Answered).Outcome.Class != c.class {
			t.Errorf("%v: %v, want %v", c.status, do, c.class)
		}
	}
}
