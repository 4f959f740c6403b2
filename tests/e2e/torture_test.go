package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ringway-im/ringway/nodes/wan"
	"github.com/ringway-im/ringway/tests/history"
)

var torture struct {
	rounds   int
	seed     uint64
	protocol string
	duration time.Duration
	network  string
	loss     string
	report   string
}

func init() {
	flag.IntVar(&torture.rounds, "rounds", 1, "of TestTorture: kills of each of hub and edge")
	flag.Uint64Var(&torture.seed, "seed", 0, "of TestTorture; 0: drawn")
	flag.StringVar(&torture.protocol, "protocol", "both", "of TestTorture: cimd2, smpp or both")
	flag.DurationVar(&torture.duration, "for", 0, "of TestTorture: no new round after it; 0: no limit")
	flag.StringVar(&torture.network, "network", "relay", "of TestTorture: relay (in user space) or namespaces (that lose packets; root)")
	flag.StringVar(&torture.loss, "loss", "2%", "of TestTorture in namespaces: packets lost each way")
	flag.StringVar(&torture.report, "report", "", "of TestTorture: file to append a JSON line to for each round; empty: the test's log")
}

const (
	tortureRTT  = 100 * time.Millisecond
	judgeEvery  = 25 // rounds
	underWay    = 150
	fullEnough  = 50 // slots unprocessed at a kill
	fullShare   = 0.9
	fewRounds   = 10
	fewShare    = 0.5
	betweenWant = 20
)

// A hub and two edges are killed (SIGKILL) at random moments, in turn, and started again
// at once, under load both ways; on the way SMSCs are killed, nodes are stopped
// for a while (SIGSTOP), the line is cut, and disks fill. People and the lines to the SMSCs
// saw what happened, and tests/history judges it.
func TestTorture(t *testing.T) {
	protocols := []string{torture.protocol}
	if torture.protocol == "both" {
		protocols = []string{"smpp", "cimd2"}
	}
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			x := newTorment(t, protocol, torture.network, tortureRTT, torture.loss, 2)
			x.disks()
			x.start()
			x.run()
		})
	}
}

// torment is a system under torture.
type torment struct {
	t     *testing.T
	seed  uint64
	site  *site
	sides []*side
	line  interface { // between the edges and the hub
		cut()
		restore()
	}
	out io.Writer

	hub      *node
	hubDisk  *smallDisk // nil: none to fill
	round    atomic.Int64
	rounds   []*round // since the last judgement
	all      summary
	begin    time.Time
	records  *history.Writer // of the whole run
	hubLife  int
	pointers []history.Record
}

// round is one line of the report.
type round struct {
	Round       int    `json:"round"`
	Seed        uint64 `json:"seed"`
	Protocol    string `json:"protocol"`
	Victim      string `json:"victim"`
	Edge        string `json:"edge"`     // whose ring was looked at, and who is the victim unless the hub is
	AfterMS     int64  `json:"after_ms"` // the round's begin
	Accident    string `json:"accident,omitempty"`
	Unprocessed *int   `json:"unprocessed"` // slots of the ring down when it was killed; null: the hub was not up
	AtEdge      int    `json:"at_edge"`     // of them, durable at the edge
	Up          int    `json:"unprocessed_up"`
	Waiting     int    `json:"waiting"`                     // behind the ring
	Between     bool   `json:"between_submit_and_response"` // it broke a session that had a submit unanswered
	Broken      int    `json:"broken_sessions"`
	Doubts      int    `json:"doubts"` // states unknown that its broken sessions led to
	Doubled     int    `json:"doubled"`
	Lost        int    `json:"lost"`
	Other       int    `json:"other_violations"`

	from, at time.Time // it was looked at; it was killed
}

// summary is the last line of the report.
type summary struct {
	Protocol   string         `json:"protocol"`
	Seed       uint64         `json:"seed"`
	Rounds     map[string]int `json:"rounds"` // by victim
	Accidents  map[string]int `json:"accidents"`
	NoRoom     map[string]int `json:"ended_for_lack_of_room"` // nodes
	FullShare  float64        `json:"share_with_50_unprocessed"`
	Between    int            `json:"between_submit_and_response"`
	Accepted   int            `json:"accepted"`
	Acked      int            `json:"acked_from_handsets"`
	Broken     int            `json:"broken_sessions"`
	Doubts     int            `json:"doubts"`
	Metric     float64        `json:"doubts_by_metric"`
	SecondTime int            `json:"copies_at_smsc"`
	Lost       int            `json:"lost"`
	Doubled    int            `json:"doubled"`
	Other      int            `json:"other_violations"`
	Seconds    float64        `json:"seconds"`

	full int // rounds
}

type relayed struct{ *wan.Relay }

func (r relayed) cut()     { r.Cut() }
func (r relayed) restore() { r.Restore() }

// newTorment lays out a system with so many edges, start starts it.
func newTorment(t *testing.T, protocol, network string, rtt time.Duration, loss string, edges int) *torment {
	x := &torment{t: t, seed: cmp.Or(torture.seed, rand.Uint64()), out: io.Discard, begin: time.Now()}
	x.all = summary{Protocol: protocol, Seed: x.seed, Rounds: map[string]int{}, Accidents: map[string]int{}, NoRoom: map[string]int{}}
	t.Logf("seed %d", x.seed)
	if torture.report != "" {
		file, err := os.OpenFile(torture.report, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = file.Close() })
		x.out = file
	}
	x.site = newSite(t)
	for i := range edges {
		x.sides = append(x.sides, &side{torment: x, number: i, edge: x.site.edge(fmt.Sprint("manila-", i+1), fmt.Sprint("+6391", 7+i), protocol, false)})
	}
	listen := x.wire(network, rtt, loss)
	for _, s := range x.sides {
		listener, err := listen()
		if err != nil {
			t.Fatal(err)
		}
		s.edge.tapAt = listener.Addr().String()
		s.edge.extras = "  redial: {first: 20ms, max: 100ms}\n"
		x.site.rewrite(s.edge)
		s.tap = newTap(t, protocol, s.edge.smscAt, listener)
	}
	records, err := os.Create(x.site.path("records.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = records.Close() })
	x.records = history.NewWriter(records)

	return x
}

func (x *torment) start() {
	t := x.t
	t.Cleanup(func() {
		if t.Failed() && torture.report != "" {
			kept := fmt.Sprintf("%s.%s.%d", torture.report, x.all.Protocol, x.seed)
			t.Logf("what is left of it: %s: %v", kept, os.CopyFS(kept, os.DirFS(x.site.dir)))
		}
	})
	x.hub = x.site.launchHub().ready()
	for _, s := range x.sides {
		s.start()
	}
	x.round.Store(1)
	eventually(t, 60*time.Second, func() string { return atLeast("settled", -x.unsettled(), 0) })
}

// wire lays the line between hub and edges, and says how to open where an edge finds its SMSC.
func (x *torment) wire(network string, rtt time.Duration, loss string) (listen func() (net.Listener, error)) {
	if network == "namespaces" {
		n := newNetwork(x.t, rtt, loss, x.seed)
		x.line = n
		x.site.inHub = n.inside("hub")
		for _, s := range x.sides {
			s.edge.in = n.inside("edge")
		}
		x.site.link = fmt.Sprintf("%s:%d", n.address("hub"), linkPort)
		x.site.pki("hub", x.site.path("pki"), "hub-2", "--host", n.address("hub"))
		x.site.certificate = "hub-2"
		return func() (net.Listener, error) { return n.listen("edge", "127.0.0.1:0") }
	}
	relay, err := wan.New(wan.Config{Target: x.site.link, RTT: rtt})
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() { _ = relay.Close() })
	x.line = relayed{relay}
	x.site.via = relay.Addr()
	return func() (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") }
}

func (x *torment) run() {
	stop := x.load()
	for i := range 2 * torture.rounds {
		if torture.duration > 0 && time.Since(x.begin) > torture.duration {
			break
		}
		x.round.Store(int64(i + 1))
		x.strike()
		if len(x.rounds) == judgeEvery {
			stop()
			x.judge()
			if x.t.Failed() {
				return
			}
			stop = x.load()
		}
	}
	stop()
	if len(x.rounds) > 0 {
		x.judge()
	}
	x.conclude()
}

// load keeps both ways busy until stop.
func (x *torment) load() (stop func()) {
	end := make(chan struct{})
	var feeding sync.WaitGroup
	every := func(d time.Duration, feed func()) {
		feeding.Go(func() {
			ticker := time.NewTicker(d)
			defer ticker.Stop()
			for {
				select {
				case <-end:
					return
				case <-ticker.C:
					feed()
				}
			}
		})
	}
	for _, s := range x.sides {
		every(5*time.Millisecond, s.feedDown)
		every(20*time.Millisecond, s.feedUp)
	}
	return func() {
		close(end)
		feeding.Wait()
	}
}

// unsettled is how many of his messages are neither processed nor final.
func (p *person) unsettled() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sent - len(p.settled)
}

// ringsNow is what is unprocessed in the rings, as the hub has it.
type ringsNow struct{ down, atEdge, up, waiting int }

type ringView struct {
	Slots    uint64
	Queue    int
	Pointers struct {
		LastRetrieved uint64 `json:"last_retrieved"`
		LastSent      uint64 `json:"last_sent"`
		LastConfirmed uint64 `json:"last_confirmed"`
		LastProcessed uint64 `json:"last_processed"`
	}
	Counts struct{ Retrieved, Sent, Confirmed int }
}

// look asks /v1/rings for one edge's, and keeps where the hub's pointers of each stand.
func (x *torment) look(edge string, limit time.Duration) (now ringsNow, err error) {
	ctx, cancel := context.WithTimeout(x.t.Context(), limit)
	defer cancel()
	var rings struct {
		Edges []struct {
			ID  string
			Hub struct{ Down, Up *ringView }
		}
	}
	if _, _, err := x.sides[0].flow.hub.try(ctx, "GET", "/v1/rings", nil, &rings); err != nil {
		return now, err
	}
	for _, e := range rings.Edges {
		for name, r := range map[string]*ringView{"down": e.Hub.Down, "up": e.Hub.Up} {
			if r == nil || r.Slots == 0 {
				continue // not yet known
			}
			role := map[string]string{"down": "sender", "up": "receiver"}[name]
			x.pointers = append(x.pointers, history.Record{
				Kind: history.Pointers, By: "hub", Ring: e.ID + " " + name, Role: role, Life: x.hubLife, Slots: r.Slots, Retrieved: r.Pointers.LastRetrieved,
				Sent: r.Pointers.LastSent, Confirmed: r.Pointers.LastConfirmed, Processed: r.Pointers.LastProcessed,
			})
			held := r.Counts.Retrieved + r.Counts.Sent + r.Counts.Confirmed
			switch {
			case e.ID != edge:
			case name == "down":
				now.down, now.atEdge, now.waiting = held, r.Counts.Confirmed, r.Queue
			default:
				now.up = held
			}
		}
	}
	return now, nil
}

// accident goes on beside a kill: begin, and what ends it.
type accident struct {
	name  string
	begin func() (end func())
	lasts time.Duration
}

// draw draws what else happens in a round at this side.
func (x *torment) draw(dice *rand.Rand, victim string, s *side) (a accident) {
	between := func(from, to time.Duration) time.Duration { return from + time.Duration(dice.Int64N(int64(to-from))) }
	cut := func() func() {
		x.line.cut()
		return x.line.restore
	}
	a.lasts = between(50*time.Millisecond, 1500*time.Millisecond)
	switch d := dice.IntN(100); {
	case d < 50:
		return accident{}
	case d < 64:
		a.name, a.begin = "cut", cut
	case d < 69: // until both ends say that it is interrupted
		a.name, a.begin, a.lasts = "long cut", cut, between(3200*time.Millisecond, 4500*time.Millisecond)
	case d < 80:
		other := map[string]*node{"hub": s.node, "edge": x.hub}[victim]
		a.name, a.begin = "other node stopped", other.pause
		if dice.IntN(5) == 0 { // as long
			a.name, a.lasts = "other node stopped for long", between(4*time.Second, 10*time.Second)
		}
	case d < 84:
		a.name, a.begin = "SMSC stopped", s.smsc.pause
	case d < 88 || x.hubDisk == nil:
		a.name, a.begin, a.lasts = "SMSC killed", func() func() {
			s.tap.died()
			s.smsc.kill()
			s.startSMSC()
			return func() {}
		}, 0
	default:
		who, disk := "hub", x.hubDisk
		if dice.IntN(2) == 0 {
			who, disk = "edge", s.disk
		}
		if d < 93 {
			a.name, a.begin = who+"'s disk nearly full", func() func() { return disk.fill(reserve / 2) }
			break
		}
		a.name, a.lasts = who+"'s disk full", between(time.Second, 8*time.Second)
		a.begin = func() func() { return disk.fill(0) }
	}
	return a
}

// pause stops a process (SIGSTOP) until resumed.
func (n *node) pause() (resume func()) {
	_ = n.cmd.Process.Signal(syscall.SIGSTOP)
	return func() { _ = n.cmd.Process.Signal(syscall.SIGCONT) }
}

// strike is a round: wait, look, kill, start again. Its seed tells which victim,
// when and beside what.
func (x *torment) strike() {
	number := int(x.round.Load())
	dice := rand.New(rand.NewPCG(x.seed, uint64(number)))
	victims := []string{"hub", "edge"}
	if rand.New(rand.NewPCG(x.seed, uint64((number-1)/2)|1<<40)).IntN(2) == 0 {
		slices.Reverse(victims)
	}
	s := x.sides[number/2%len(x.sides)]
	r := &round{Round: number, Seed: x.seed, Protocol: x.all.Protocol, Victim: victims[number%2], Edge: s.edge.id}
	a := x.draw(dice, r.Victim, s)
	r.Accident = a.name
	wait := time.Duration(300+dice.IntN(900)) * time.Millisecond
	amid := time.Duration(dice.IntN(60)) * time.Millisecond
	atOnce := dice.IntN(100) < 5 // whatever state it is in: still starting, say

	x.operate()
	begin := time.Now()
	var now ringsNow
	var err error
	if atOnce {
		<-time.After(wait / 4)
		now, err = x.look(r.Edge, 100*time.Millisecond)
	} else {
		<-time.After(wait)
		for end := time.Now().Add(10 * time.Second); ; <-time.After(10 * time.Millisecond) {
			if now, err = x.look(r.Edge, time.Second); err == nil && now.atEdge >= fullEnough || time.Now().After(end) {
				break
			}
		}
	}
	if err == nil {
		r.Unprocessed, r.AtEdge, r.Up, r.Waiting = &now.down, now.atEdge, now.up, now.waiting
	}
	if r.Victim == "edge" {
		s.metric += s.doubtsCounted()
	}
	r.from = time.Now()
	end := func() {}
	if a.begin != nil {
		end = a.begin()
		<-time.After(min(amid, a.lasts))
	}
	for _, n := range x.nodes() {
		if n.ended() && !x.lacksRoom(n) {
			x.t.Fatalf("round %d, seed %d: %s has ended by itself, status %d:\n%s", number, x.seed, n.name, n.status(), strings.Join(n.log(), "\n"))
		}
	}
	r.at = time.Now()
	r.AfterMS = r.at.Sub(begin).Milliseconds()
	if r.Victim == "hub" {
		x.kill(x.hub)
		x.hubLife++
		x.hub = x.site.launchHub()
	} else {
		s.again()
	}
	if a.name == r.Victim+"'s disk full" { // started on it, it ends or waits for room, and says why
		started := map[string]*node{"hub": x.hub, "edge": s.node}[r.Victim]
		started.says(30*time.Second, syscall.ENOSPC.Error())
	}
	<-time.After(a.lasts - time.Since(r.at))
	end()
	x.rounds = append(x.rounds, r)
}

// nodes are all processes.
func (x *torment) nodes() []*node {
	all := []*node{x.hub}
	for _, s := range x.sides {
		all = append(all, s.node, s.smsc)
	}
	return all
}

// operate starts again what ended because its disk was full, as an operator does once
// there is room.
func (x *torment) operate() {
	if x.hub.ended() && x.lacksRoom(x.hub) {
		x.all.NoRoom["hub"]++
		x.kill(x.hub)
		x.hubLife++
		x.hub = x.site.launchHub()
	}
	for _, s := range x.sides {
		if s.node.ended() && x.lacksRoom(s.node) {
			x.all.NoRoom["edge"]++
			s.again()
		}
	}
}

// lacksRoom says whether a node has ended because its disk was full, and said so.
func (x *torment) lacksRoom(n *node) bool {
	disks := map[*node]*smallDisk{x.hub: x.hubDisk}
	for _, s := range x.sides {
		disks[s.node] = s.disk
	}
	disk := disks[n]
	if disk == nil || !disk.filled || n.status() != 1 {
		return false
	}
	return slices.ContainsFunc(n.log(), func(line string) bool { return strings.Contains(line, syscall.ENOSPC.Error()) })
}

// kill ends a node, and looks whether it had complained.
func (x *torment) kill(n *node) {
	n.kill()
	for _, line := range n.log() {
		full := strings.Contains(line, "disk is nearly full") || strings.Contains(line, syscall.ENOSPC.Error())
		if strings.Contains(line, "panic") || strings.Contains(line, `"level":"error"`) && !full {
			x.t.Errorf("round %d, seed %d: %s said: %s", x.round.Load(), x.seed, n.name, line)
		}
	}
}

// judge lets all come to rest and has it judged.
func (x *torment) judge() {
	t, begin := x.t, time.Now()
	for _, s := range x.sides {
		s.latency(fast)
		defer s.latency(slow)
	}
	x.operate()
	x.hub.ready()
	for _, s := range x.sides {
		s.node.ready()
		isReady(s.edge.api(t), 60*time.Second)
	}
	x.rest()
	records := x.pointers
	x.pointers = nil
	for _, s := range x.sides {
		records = append(records, s.saw()...)
	}
	records = append(records, history.Record{Kind: history.End})
	v, err := history.Check(history.Options{MaxViolations: 1000}, records)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		if err := x.records.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	x.all.Accepted += v.Accepted
	x.all.Acked += v.Acked
	x.all.SecondTime += v.Doubts
	for _, violation := range v.Violations {
		t.Errorf("seed %d: %v", x.seed, violation)
		x.blame(violation)
	}
	out := json.NewEncoder(x.out)
	for _, r := range x.rounds {
		x.add(r)
		if err := out.Encode(r); err != nil {
			t.Fatal(err)
		}
	}
	last := x.rounds[len(x.rounds)-1]
	t.Logf("judged in %v", time.Since(begin).Round(time.Millisecond))
	t.Logf("up to round %d: %d accepted, %d from handsets, %d doubts (%v by the edges' counters), %d copies at the SMSC, lost %d, doubled %d; %v",
		last.Round, x.all.Accepted, x.all.Acked, x.all.Doubts, x.metric(), x.all.SecondTime, x.all.Lost, x.all.Doubled, time.Since(x.begin).Round(time.Second))
	x.rounds = nil
}

// metric is what the edges have counted.
func (x *torment) metric() (n float64) {
	for _, s := range x.sides {
		n += s.metric + s.doubtsCounted()
	}
	return n
}

// rest waits until nothing is under way, for as long as that gets less.
func (x *torment) rest() {
	x.t.Helper()
	last, changed := "", time.Now()
	for {
		missing, idle := "", ""
		for _, s := range x.sides {
			missing += fmt.Sprint(s.unsettled(), " unsettled, ", s.flow.cameUp(), " came up; ")
			idle += s.flow.idle()
		}
		if idle == "" && x.unsettled() == 0 {
			return
		}
		if missing += idle; missing != last {
			last, changed = missing, time.Now()
		}
		if time.Since(changed) > time.Minute {
			x.t.Fatalf("it does not come to rest: %s", missing)
		}
		<-time.After(20 * time.Millisecond)
	}
}

func (x *torment) unsettled() (n int) {
	for _, s := range x.sides {
		n += s.unsettled()
	}
	return n
}

var roundOf = regexp.MustCompile(`"[du](\d+)-`)

// blame adds a violation to the round in which its message was sent.
func (x *torment) blame(v history.Violation) {
	r := x.rounds[0]
	if found := roundOf.FindStringSubmatch(v.Text); found != nil {
		for _, other := range x.rounds {
			if strconv.Itoa(other.Round) == found[1] {
				r = other
			}
		}
	}
	switch v.Rule {
	case history.Lost:
		r.Lost++
	case history.Doubled:
		r.Doubled++
	default:
		r.Other++
	}
}

func (x *torment) add(r *round) {
	all := &x.all
	all.Rounds[r.Victim]++
	if r.Accident != "" {
		all.Accidents[r.Accident]++
	}
	if r.Unprocessed != nil && *r.Unprocessed >= fullEnough {
		all.full++
	}
	if r.Between {
		all.Between++
	}
	all.Broken += r.Broken
	all.Lost += r.Lost
	all.Doubled += r.Doubled
	all.Other += r.Other
}

// roundAt is the round in which something happened.
func (x *torment) roundAt(at time.Time) *round {
	found := x.rounds[0]
	for _, r := range x.rounds {
		if !at.Before(r.from) {
			found = r
		}
	}
	return found
}

// conclude judges the whole run once more, by the command, and its figures.
func (x *torment) conclude() {
	all := &x.all
	all.Metric = x.metric()
	all.Seconds = time.Since(x.begin).Seconds()
	total := all.Rounds["hub"] + all.Rounds["edge"]
	all.FullShare = float64(all.full) / float64(max(total, 1))
	line, err := json.Marshal(all)
	if err != nil {
		x.t.Fatal(err)
	}
	fmt.Fprintf(x.out, "%s\n", line)
	x.t.Logf("%s", line)
	if status, said := command(x.t, "check-history", x.site.path("records.jsonl")); status != 0 {
		x.t.Errorf("seed %d: ringway check-history: status %d: %s", x.seed, status, said)
	}
	want := fullShare
	if total < judgeEvery { // a few that strike at once say little
		want = fewShare
	}
	if total >= fewRounds && all.FullShare < want {
		x.t.Errorf("in %.2f of the rounds %d slots or more were unprocessed, want %.2f: slow the SMSC down", all.FullShare, fullEnough, want)
	}
	if total >= 200 && all.Between < betweenWant {
		x.t.Errorf("%d rounds struck between a submit and its response, want %d", all.Between, betweenWant)
	}
}

const reserve = 24 << 20 // octets, of disks that fill

// disks puts the data of hub and edges on small file systems, where they can be mounted.
func (x *torment) disks() {
	extras := fmt.Sprintf("disk: {reserve_mb: %d}\n", reserve>>20)
	if x.hubDisk = newSmallDisk(x.t, x.site.path("hub-data"), "size=512m"); x.hubDisk == nil {
		return
	}
	x.site.extras += extras
	for _, s := range x.sides {
		s.disk = newSmallDisk(x.t, x.site.path(s.edge.id+"-data"), "size=256m")
		s.edge.extras += extras
		x.site.rewrite(s.edge)
	}
}

// smallDisk is a file system under a data directory.
type smallDisk struct {
	t      testing.TB
	dir    string
	filled bool // it has been
}

// newSmallDisk returns nil where none can be mounted.
func newSmallDisk(t testing.TB, dir, options string) *smallDisk {
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := mountSmall(dir, options); err != nil {
		t.Logf("no disk to fill: %v", err)
		return nil
	}
	t.Cleanup(func() { unmount(dir) })
	return &smallDisk{t: t, dir: dir}
}

// fill leaves so many octets, and no more when some are given free, until empty.
func (d *smallDisk) fill(leave int64) (empty func()) {
	d.filled = d.filled || leave == 0
	filler, end := filepath.Join(d.dir, "filler"), make(chan struct{})
	var filling sync.WaitGroup
	fill := func() {
		if err := fillUp(filler, leave); err != nil {
			d.t.Error(err)
		}
	}
	fill()
	filling.Go(func() {
		for {
			select {
			case <-end:
				return
			case <-time.After(5 * time.Millisecond):
				fill()
			}
		}
	})
	stop := sync.OnceFunc(func() { // at the latest before the disk is unmounted: what is under it is not small
		close(end)
		filling.Wait()
	})
	d.t.Cleanup(stop)
	return func() {
		stop()
		if err := os.Remove(filler); err != nil {
			d.t.Error(err)
		}
	}
}
