// Package smpp speaks SMPP v3.4: a codec for all its PDUs and the machines of
// both sides of a session. It is pure: no actor, socket, clock or goroutine.
//
//	octets ──Read──▶ PDU ──Received──▶ Machine, Server ──Write──▶ octets
//	                  │                 machine.go, server.go
//	                  └─ pdu.go, session.go, message.go, manage.go, tlv.go, status.go
//
// part.go turns submit_sm, deliver_sm and data_sm into a neutral smsc.Part and
// back, dialect.go as the SMSC at hand wants it (smsc.Quirks), receipt.go reads and
// writes delivery receipts. side.go is what both machines have in common, intake.go
// what an SMSC takes from an ESME.
//
// The codec is strict in what it writes and lenient in what it reads: octets
// behind the last field are skipped, unknown TLVs kept and known ones of a wrong
// length too, identifiers in responses and addresses in deliver_sm may be longer
// than allowed or absent. Append refuses to write any of that.
package smpp

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/ringway-im/ringway/smsc"
)

// Sizes in octets. A limit of a C-octet string includes its NUL.
const (
	headerSize      = 16
	maxPDU          = 65536 // own limit: a message_payload may have 64 KB (no limit in SMPP v3.4)
	maxShortMessage = 254
	timeSize        = 17
	addressSize     = 21
	longAddressSize = 65 // data_sm, alert_notification; read so in deliver_sm and submit_multi_resp
	systemIDSize    = 16
	messageIDSize   = 65
	lenientIDSize   = maxPDU // of a response's message_id or system_id when it is read: some SMSCs exceed 64 characters
)

// CommandID says what a PDU is (SMPP v3.4 §5.1.2.1).
type CommandID uint32

// Response is the bit that makes a request's CommandID that of its response.
const Response CommandID = 0x80000000

// The commands of SMPP v3.4.
const (
	CommandGenericNack       CommandID = 0x80000000
	CommandBindReceiver      CommandID = 0x00000001
	CommandBindTransmitter   CommandID = 0x00000002
	CommandQuerySM           CommandID = 0x00000003
	CommandSubmitSM          CommandID = 0x00000004
	CommandDeliverSM         CommandID = 0x00000005
	CommandUnbind            CommandID = 0x00000006
	CommandReplaceSM         CommandID = 0x00000007
	CommandCancelSM          CommandID = 0x00000008
	CommandBindTransceiver   CommandID = 0x00000009
	CommandOutbind           CommandID = 0x0000000B
	CommandEnquireLink       CommandID = 0x00000015
	CommandSubmitMulti       CommandID = 0x00000021
	CommandAlertNotification CommandID = 0x00000102
	CommandDataSM            CommandID = 0x00000103
)

var commandNames = map[CommandID]string{
	CommandBindReceiver: "bind_receiver", CommandBindTransmitter: "bind_transmitter", CommandQuerySM: "query_sm",
	CommandSubmitSM: "submit_sm", CommandDeliverSM: "deliver_sm", CommandUnbind: "unbind", CommandReplaceSM: "replace_sm",
	CommandCancelSM: "cancel_sm", CommandBindTransceiver: "bind_transceiver", CommandOutbind: "outbind",
	CommandEnquireLink: "enquire_link", CommandSubmitMulti: "submit_multi",
	CommandAlertNotification: "alert_notification", CommandDataSM: "data_sm",
}

// IsResponse reports whether the command answers another; generic_nack does.
func (c CommandID) IsResponse() bool { return c&Response != 0 }

func (c CommandID) String() string {
	if c == CommandGenericNack {
		return "generic_nack"
	}
	name, ok := commandNames[c&^Response]
	switch {
	case !ok:
		return fmt.Sprintf("command 0x%08X", uint32(c))
	case c.IsResponse():
		return name + "_resp"
	}
	return name
}

// Header is what all PDUs begin with, except command_length and command_id,
// which follow from the rest.
type Header struct {
	Status   Status // OK in requests, and ignored there
	Sequence uint32 // 1 to 0x7FFFFFFF in requests of ours; any is echoed
}

// Head gives access to the header of any PDU.
func (h *Header) Head() *Header { return h }

// PDU is one of the pointer types of this package that are named for an
// operation: *SubmitSM, *SubmitSMResp, ...
type PDU interface {
	Command() CommandID
	Head() *Header
	walk(w *wire)
}

// newPDU returns an empty PDU of the command, nil when it is unknown.
func newPDU(c CommandID) PDU {
	switch c {
	case CommandGenericNack:
		return new(GenericNack)
	case CommandBindReceiver:
		return new(BindReceiver)
	case CommandBindReceiver | Response:
		return new(BindReceiverResp)
	case CommandBindTransmitter:
		return new(BindTransmitter)
	case CommandBindTransmitter | Response:
		return new(BindTransmitterResp)
	case CommandBindTransceiver:
		return new(BindTransceiver)
	case CommandBindTransceiver | Response:
		return new(BindTransceiverResp)
	case CommandOutbind:
		return new(Outbind)
	case CommandUnbind:
		return new(Unbind)
	case CommandUnbind | Response:
		return new(UnbindResp)
	case CommandEnquireLink:
		return new(EnquireLink)
	case CommandEnquireLink | Response:
		return new(EnquireLinkResp)
	case CommandSubmitSM:
		return new(SubmitSM)
	case CommandSubmitSM | Response:
		return new(SubmitSMResp)
	case CommandDeliverSM:
		return new(DeliverSM)
	case CommandDeliverSM | Response:
		return new(DeliverSMResp)
	case CommandDataSM:
		return new(DataSM)
	case CommandDataSM | Response:
		return new(DataSMResp)
	case CommandSubmitMulti:
		return new(SubmitMulti)
	case CommandSubmitMulti | Response:
		return new(SubmitMultiResp)
	case CommandQuerySM:
		return new(QuerySM)
	case CommandQuerySM | Response:
		return new(QuerySMResp)
	case CommandCancelSM:
		return new(CancelSM)
	case CommandCancelSM | Response:
		return new(CancelSMResp)
	case CommandReplaceSM:
		return new(ReplaceSM)
	case CommandReplaceSM | Response:
		return new(ReplaceSMResp)
	case CommandAlertNotification:
		return new(AlertNotification)
	}
	return nil
}

// response returns an empty response to a request, with its sequence number:
// generic_nack where the command has none or is unknown.
func response(c CommandID, sequence uint32, s Status) PDU {
	p := newPDU(c | Response)
	if p == nil {
		p = new(GenericNack)
	}
	*p.Head() = Header{Status: s, Sequence: sequence}
	return p
}

// Malformed is what could be read of a PDU that breaks the rules: the Packet of
// a smsc.SyntaxError.
type Malformed struct {
	Header
	Command CommandID
	Reply   Status // what the sender of the request is to be told
	PDU     PDU    // the fields before the fault; nil when the command is unknown or framing is lost
}

// Append encodes p behind dst. The error is of the caller's making: a field or a
// known TLV whose length SMPP v3.4 does not allow, even if reading does, one that
// must be empty, or a NUL within a text; dst is then returned as it was.
func Append(dst []byte, p PDU) ([]byte, error) {
	w := begin(dst, p.Command(), p.Head())
	w.walk(p)
	return w.end(dst, p.Command(), p.Head().Status)
}

// appendSM is Append for a submit_sm or, with that command, a deliver_sm. It
// knows the type, so that p can stay on the stack.
func appendSM(dst []byte, c CommandID, p *SubmitSM) ([]byte, error) {
	w := begin(dst, c, &p.Header)
	if c == CommandDeliverSM {
		(*DeliverSM)(p).walk(&w)
	} else {
		p.walk(&w)
	}
	return w.end(dst, c, p.Status)
}

// begin writes the header of a PDU, command_length still 0.
func begin(dst []byte, c CommandID, h *Header) wire {
	b := append(dst, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(c))
	b = binary.BigEndian.AppendUint32(b, uint32(h.Status))
	return wire{b: binary.BigEndian.AppendUint32(b, h.Sequence), writing: true}
}

// end returns the whole PDU behind dst, or dst when it cannot be written.
func (w *wire) end(dst []byte, c CommandID, s Status) ([]byte, error) {
	start := len(dst)
	if w.fault != OK {
		return dst, fmt.Errorf("smpp: %v: %s", c, w.reason)
	}
	// A negative response with nothing in it has no body.
	if s != OK && c.IsResponse() && !w.tlv && allZero(w.b[start+headerSize:]) {
		w.b = w.b[:start+headerSize]
	}
	n := len(w.b) - start
	if n > maxPDU {
		return dst, fmt.Errorf("smpp: %v: %d octets, the most is %d", c, n, maxPDU)
	}
	binary.BigEndian.PutUint32(w.b[start:], uint32(n))
	return w.b, nil
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// Decode decodes one whole PDU. Octet strings of the result are parts of b. The
// error is a *smsc.SyntaxError with a *Malformed as its Packet.
func Decode(b []byte) (PDU, error) { return new(decoder).decode(b) }

// decoder decodes many PDUs with few allocations.
type decoder struct {
	octets    smsc.Octets // PDUs as they came
	texts     smsc.Texts
	messages  smsc.Slab[SubmitSM]     // submit_sm and deliver_sm
	responses smsc.Slab[SubmitSMResp] // their responses
}

func (d *decoder) decode(b []byte) (PDU, error) {
	if len(b) < headerSize || len(b) > maxPDU || binary.BigEndian.Uint32(b) != uint32(len(b)) {
		m := &Malformed{Reply: RINVCMDLEN}
		reason := fmt.Sprintf("%d octets are no PDU", len(b))
		if len(b) >= headerSize {
			m.Header.Sequence = binary.BigEndian.Uint32(b[12:])
			reason = fmt.Sprintf("command_length is %d, %d octets are there", binary.BigEndian.Uint32(b), len(b))
		}
		return nil, &smsc.SyntaxError{Protocol: "smpp", Reason: reason, Fatal: true, Packet: m}
	}
	command := CommandID(binary.BigEndian.Uint32(b[4:]))
	h := Header{Status: Status(binary.BigEndian.Uint32(b[8:])), Sequence: binary.BigEndian.Uint32(b[12:])}
	p := d.newPDU(command)
	if p == nil {
		return nil, &smsc.SyntaxError{
			Protocol: "smpp", Offset: 4, Reason: "unknown " + command.String(),
			Packet: &Malformed{Header: h, Command: command, Reply: RINVCMDID},
		}
	}
	*p.Head() = h
	if len(b) == headerSize && command.IsResponse() {
		return p, nil // responses come without a body, most often when negative
	}
	w := wire{b: b, off: headerSize, texts: &d.texts}
	w.walk(p)
	if w.fault != OK {
		return nil, &smsc.SyntaxError{
			Protocol: "smpp", Offset: w.at, Reason: command.String() + ": " + w.reason,
			Packet: &Malformed{Header: h, Command: command, Reply: w.fault, PDU: p},
		}
	}
	return p, nil
}

// Read returns the next PDU. A *smsc.SyntaxError that is not Fatal leaves r
// behind the bad PDU; its Packet is a *Malformed. io.EOF comes only between PDUs.
func Read(r *bufio.Reader) (any, error) { return new(decoder).read(r) }

func newReader() func(r *bufio.Reader) (any, error) { return new(decoder).read }

func (d *decoder) read(r *bufio.Reader) (any, error) {
	b, err := r.Peek(4)
	if err != nil {
		if len(b) > 0 {
			err = unexpected(err)
		}
		return nil, err
	}
	n := binary.BigEndian.Uint32(b)
	if n < headerSize || n > maxPDU {
		m := &Malformed{Reply: RINVCMDLEN}
		if r.Buffered() >= headerSize && n > maxPDU { // never wait for what may not come
			b, _ = r.Peek(headerSize)
			m.Command = CommandID(binary.BigEndian.Uint32(b[4:]))
			m.Header.Sequence = binary.BigEndian.Uint32(b[12:])
		}
		return nil, &smsc.SyntaxError{
			Protocol: "smpp", Reason: fmt.Sprintf("command_length %d is not between %d and %d", n, headerSize, maxPDU),
			Fatal: true, Packet: m,
		}
	}
	b = d.octets.New(int(n))
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, unexpected(err)
	}
	p, err := d.decode(b)
	if err != nil {
		return nil, err
	}
	return p, nil
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// newPDU is newPDU, with memory for many of the PDUs that make up the traffic.
func (d *decoder) newPDU(c CommandID) PDU {
	switch c {
	case CommandSubmitSM:
		return d.messages.New()
	case CommandSubmitSM | Response:
		return d.responses.New()
	case CommandDeliverSM:
		return (*DeliverSM)(d.messages.New())
	case CommandDeliverSM | Response:
		return (*DeliverSMResp)(d.responses.New())
	}
	return newPDU(c)
}
