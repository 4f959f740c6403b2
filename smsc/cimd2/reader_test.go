package cimd2

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"testing"

	"github.com/ringway-im/ringway/smsc"
)

// A Reader's packets are those that Decode returns, and stay so while it reads on.
func TestReaderKeepsPackets(t *testing.T) {
	var stream []byte
	var want []*Packet
	for i := range 500 {
		submit, err := NewSubmit(hello(fmt.Sprint("text ", i)), Options{})
		if err != nil {
			t.Fatal(err)
		}
		response := NewPacket(Submit.Response(), uint8(2*i+1), 2)
		response.Add(DestinationAddress, fmt.Sprint(i))
		for _, p := range []*Packet{submit, response, NewPacket(Alive, uint8(2*i+1), 0)} {
			begin := len(stream)
			if stream, err = p.Append(stream); err != nil {
				t.Fatal(err)
			}
			q, err := Decode(bytes.Clone(stream[begin:]))
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, q)
		}
	}
	r, read := bufio.NewReader(bytes.NewReader(stream)), Protocol.Reader()
	var got []*Packet
	for {
		p, err := read(r)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, p.(*Packet))
	}
	if len(got) != len(want) {
		t.Fatalf("%d of %d packets", len(got), len(want))
	}
	for i := range want {
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Fatalf("packet %d: %v, not %v", i, got[i], want[i])
		}
	}
}

// Events may be pointers, to memory that is used again.
func TestEventsByPointer(t *testing.T) {
	client, server := New(smsc.Config{User: "u", Password: "p", Window: 1}), NewServer(smsc.ServerConfig{})
	var fromClient, fromServer smsc.Received
	var answer smsc.ServerAnswer
	var outcomes []string
	decode := func(octets []byte) *Packet {
		p, err := Decode(octets)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	var toServer func(ev smsc.Event)
	toClient := func(ev smsc.Event) {
		for _, e := range client.Handle(ev, nil) {
			switch e := e.(type) {
			case smsc.Write:
				fromClient.Packet = decode(e.Octets)
				toServer(&fromClient)
			case smsc.Answered:
				outcomes = append(outcomes, e.Outcome.ID)
			}
		}
	}
	toServer = func(ev smsc.Event) {
		for _, e := range server.Handle(ev, nil) {
			switch e := e.(type) {
			case smsc.Write:
				fromServer.Packet = decode(e.Octets)
				toClient(&fromServer)
			case smsc.LoginReceived:
				toServer(smsc.LoginResult{OK: true})
			case smsc.SubmitReceived:
				answer = smsc.ServerAnswer{Ref: e.Ref, Outcome: smsc.Outcome{ID: ID(e.Part.To.Digits, string(e.Part.Data))}}
				toServer(&answer)
			}
		}
	}
	toServer(smsc.Connected{})
	toClient(smsc.Connected{})
	for _, at := range []string{"261122201500", "261122201501"} {
		toClient(&smsc.Submit{Part: hello(at)})
	}
	if want := "[358407654321/261122201500 358407654321/261122201501]"; fmt.Sprint(outcomes) != want {
		t.Errorf("answered %v, not %v", outcomes, want)
	}
}
