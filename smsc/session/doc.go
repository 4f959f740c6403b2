// Package session is the edge's actors on the SMSC's side.
//
//	edge root
//	├── outlet       one per SMSC: which message goes next, on which session; doubt, retry, pace
//	│   ├── session  one per bind or login: owns socket, timers and the protocol's machine
//	│   └── session  ...           stopped and replaced when it fails
//	└── inlet        what comes from the handsets: reassembly, redelivery, receipts
//
// The life of one part on its way down (invariants I7, I15): what stands in one line
// with "sync" is one commit.
//
//	slot      outlet                        session      SMSC
//	 ──HandOn─▶ intent(1) ── sync ─ ─ ─ ─ ─▶ submit(1) ───▶
//	            outcome(1), intent(2) ◀──────────────────── answer(1)
//	 ◀─Answered─ ─ ─ ─ ─ ─ ─ sync ─ ─ ─ ─ ─▶ submit(2) ───▶
//
// plan.go, parts.go, backoff.go, clock.go and assembly.go are pure.
package session
