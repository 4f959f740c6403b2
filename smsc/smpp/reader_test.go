package smpp

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

// A Reader's packets are those that Read and Decode return, and stay so while it reads on.
func TestReaderKeepsPackets(t *testing.T) {
	var stream []byte
	var want []PDU
	for i := range uint32(500) {
		p := submitSM(4*i+1, fmt.Sprint("text ", i))
		p.SourceAddr = fmt.Sprint(i)
		d := DeliverSM(*submitSM(4*i+2, fmt.Sprint("from ", i)))
		for _, p := range []PDU{p, &d, submitResp(4*i+3, OK, fmt.Sprint("id", i)), &EnquireLink{Header{Sequence: 4*i + 4}}} {
			begin := len(stream)
			var err error
			if stream, err = Append(stream, p); err != nil {
				t.Fatal(err)
			}
			want = append(want, mustDecode(t, bytes.Clone(stream[begin:])))
		}
	}
	r, read := bufio.NewReader(bytes.NewReader(stream)), Protocol.Reader()
	var got []PDU
	for {
		p, err := read(r)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, p.(PDU))
	}
	if len(got) != len(want) {
		t.Fatalf("%d of %d PDUs", len(got), len(want))
	}
	for i := range want {
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Fatalf("PDU %d: %+v, not %+v", i, got[i], want[i])
		}
	}
}

// Events may be pointers, to memory that is used again.
func TestEventsByPointer(t *testing.T) {
	client, server := NewMachine(config()), NewServer(smsc.ServerConfig{SystemID: "SMSC"})
	var fromClient, fromServer smsc.Received
	var answer smsc.ServerAnswer
	var outcomes []string
	var toServer func(ev smsc.Event)
	toClient := func(ev smsc.Event) {
		for _, e := range client.Handle(ev, nil) {
			switch e := e.(type) {
			case smsc.Write:
				fromClient.Packet = mustDecode(t, bytes.Clone(e.Octets))
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
				fromServer.Packet = mustDecode(t, bytes.Clone(e.Octets))
				toClient(&fromServer)
			case smsc.LoginReceived:
				toServer(smsc.LoginResult{OK: true})
			case smsc.SubmitReceived:
				answer = smsc.ServerAnswer{Ref: e.Ref, Outcome: smsc.Outcome{ID: string(e.Part.Data)}}
				toServer(&answer)
			}
		}
	}
	toServer(smsc.Connected{})
	toClient(smsc.Connected{})
	submit := smsc.Submit{Part: part("")}
	for _, id := range []string{"one", "two"} {
		submit.Part.Data = []byte(id)
		toClient(&submit)
	}
	if fmt.Sprint(outcomes) != "[one two]" {
		t.Errorf("answered %v", outcomes)
	}
}
