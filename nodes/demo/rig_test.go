package demo

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/ringway-im/ringway/nodes/hub"

	"go.uber.org/zap/zaptest"
)

func TestBothWays(t *testing.T) {
	for _, protocol := range []string{"cimd2", "smpp"} {
		t.Run(protocol, func(t *testing.T) {
			r, err := Start(RigConfig{Dir: t.TempDir(), Protocol: protocol, RTT: 50 * time.Millisecond, Receipts: true, Log: zaptest.NewLogger(t)})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			if err := r.Await(ctx); err != nil {
				t.Fatal(err)
			}
			if _, err := r.Hub.PutUser(ctx, "alice", "correct horse"); err != nil {
				t.Fatal(err)
			}
			for i := range 20 {
				if _, err := r.Hub.Send(ctx, hub.Submission{From: "alice", To: "+639170000001", Text: fmt.Sprint("text ", i)}); err != nil {
					t.Fatal(err)
				}
			}
			handset, err := r.SMSC.Handset("+639170000001")
			if err != nil {
				t.Fatal(err)
			}
			for len(handset.Messages(0)) < 20 {
				if ctx.Err() != nil {
					t.Fatal(len(handset.Messages(0)))
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
}
