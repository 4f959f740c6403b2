package e2e

import (
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/ringway-im/ringway/tests/need"
)

// From one moment on each fsync of a hub's process fails, then of an edge's, under
// load. The process ends at once and says why; nothing that was acknowledged is
// missing when it has started again.
func TestFsyncFails(t *testing.T) {
	t.Parallel()
	strace := need.Program(t, "strace")
	s := newSite(t)
	e := s.edge("manila-1", "+63917", "smpp", false)
	s.launchSMSC(e).ready()
	hub := s.launchHub().ready()
	edge := s.launchEdge(e).ready()
	isReady(e.api(t), 20*time.Second)
	ann := newPerson(s.admin(), "ann")
	const handset = "+639170000001"
	var down, up []string // acknowledged
	load := func(n int) {
		for range n {
			text := fmt.Sprintf("down %d", len(down)) // what was refused is sent again
			if status, _, _ := ann.try(t.Context(), "POST", "/v1/messages", map[string]string{"ref": text, "to": handset, "text": text}, nil); status == 202 || status == 200 {
				down = append(down, text)
			}
			text = fmt.Sprintf("up %d", len(up))
			if err := e.smsc(t).send(handset, e.number, text); err != nil {
				t.Fatal(err)
			}
			up = append(up, text)
		}
	}
	fail := func(n *node) {
		t.Helper()
		injector := exec.Command(strace, "-f", "-o", "/dev/null", "-e", "trace=fsync,fdatasync",
			"-e", "inject=fsync,fdatasync:error=EIO", "-p", strconv.Itoa(n.pid()))
		if err := injector.Start(); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(60 * time.Second); !n.ended() && time.Now().Before(deadline); {
			load(1)
		}
		if err := injector.Wait(); err != nil && !n.ended() {
			need.Lack(t, "strace may not trace another process: %v", err)
		}
		if status, _ := n.ends(10 * time.Second); status != 1 {
			t.Errorf("%s ended with status %d, want 1", n.name, status)
		}
		n.says(time.Second, "the store has failed", "data_dir", "input/output error")
	}
	load(30)
	fail(hub)
	hub = s.launchHub().ready()
	isReady(e.api(t), 20*time.Second)
	load(30)
	fail(edge)
	edge = s.launchEdge(e).ready()
	load(30)
	eventually(t, 60*time.Second, func() string {
		return atLeast("texts at the handset", len(distinct(e.smsc(t).texts(handset))), len(down))
	})
	texts := e.smsc(t).texts(handset)
	if once := distinct(texts); len(once) != len(down) || len(texts) > len(down)+1 { // one session of the edge's was lost
		t.Errorf("%d texts were acknowledged, %d came, %d in all", len(down), len(once), len(texts))
	}
	inbox := func() (texts []string) {
		for _, m := range ann.inboxPages() {
			texts = append(texts, m.Text)
		}
		return texts
	}
	eventually(t, 60*time.Second, func() string { return atLeast("texts in the inbox", len(distinct(inbox())), len(up)) })
	if got := inbox(); len(got) > len(up)+1 { // what the SMSC had no answer for it hands over again
		t.Errorf("%d texts went up, %d came", len(up), len(got))
	}
	edge.stop()
	hub.stop()
}

func distinct(texts []string) []string {
	texts = slices.Clone(texts)
	slices.Sort(texts)
	return slices.Compact(texts)
}
