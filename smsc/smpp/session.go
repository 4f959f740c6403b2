package smpp

// BindTransmitter asks for a session in which the ESME submits (SMPP v3.4 §4.1.1).
type BindTransmitter struct {
	Header
	SystemID         string // at most 15 octets
	Password         string // at most 8
	SystemType       string // at most 12
	InterfaceVersion uint8  // 0x34
	AddrTON, AddrNPI uint8
	AddressRange     string // at most 40
}

// BindReceiver asks for a session in which the SMSC delivers (§4.1.3).
type BindReceiver BindTransmitter

// BindTransceiver asks for a session in both directions (§4.1.5).
type BindTransceiver BindTransmitter

// BindTransmitterResp answers a bind (§4.1.2). Without a body when it refuses.
type BindTransmitterResp struct {
	Header
	SystemID string
	TLVs     TLVs // sc_interface_version
}

// BindReceiverResp answers a bind (§4.1.4).
type BindReceiverResp BindTransmitterResp

// BindTransceiverResp answers a bind (§4.1.6).
type BindTransceiverResp BindTransmitterResp

// Outbind asks an ESME to bind as a receiver (§4.1.7); it has no response.
type Outbind struct {
	Header
	SystemID, Password string
}

// PDUs without a body: trailing octets are skipped.
type (
	// Unbind ends a session (§4.2.1).
	Unbind struct{ Header }
	// UnbindResp answers it (§4.2.2).
	UnbindResp struct{ Header }
	// EnquireLink asks whether the other side is there (§4.11.1).
	EnquireLink struct{ Header }
	// EnquireLinkResp answers it (§4.11.2).
	EnquireLinkResp struct{ Header }
	// GenericNack refuses what cannot be understood (§4.3.1).
	GenericNack struct{ Header }
)

func (*BindTransmitter) Command() CommandID     { return CommandBindTransmitter }
func (*BindReceiver) Command() CommandID        { return CommandBindReceiver }
func (*BindTransceiver) Command() CommandID     { return CommandBindTransceiver }
func (*BindTransmitterResp) Command() CommandID { return CommandBindTransmitter | Response }
func (*BindReceiverResp) Command() CommandID    { return CommandBindReceiver | Response }
func (*BindTransceiverResp) Command() CommandID { return CommandBindTransceiver | Response }
func (*Outbind) Command() CommandID             { return CommandOutbind }
func (*Unbind) Command() CommandID              { return CommandUnbind }
func (*UnbindResp) Command() CommandID          { return CommandUnbind | Response }
func (*EnquireLink) Command() CommandID         { return CommandEnquireLink }
func (*EnquireLinkResp) Command() CommandID     { return CommandEnquireLink | Response }
func (*GenericNack) Command() CommandID         { return CommandGenericNack }

func (p *BindTransmitter) walk(w *wire) {
	w.text(&p.SystemID, systemIDSize, RINVSYSID, "system_id")
	w.text(&p.Password, 9, RINVPASWD, "password")
	w.text(&p.SystemType, 13, RINVSYSTYP, "system_type")
	w.u8(&p.InterfaceVersion, "interface_version")
	w.address(&p.AddrTON, &p.AddrNPI, &p.AddressRange, 41, RBINDFAIL, "address_range")
}
func (p *BindReceiver) walk(w *wire)    { (*BindTransmitter)(p).walk(w) }
func (p *BindTransceiver) walk(w *wire) { (*BindTransmitter)(p).walk(w) }

func (p *BindTransmitterResp) walk(w *wire) {
	w.text(&p.SystemID, w.size(systemIDSize, lenientIDSize), RINVSYSID, "system_id")
	w.tlvs(&p.TLVs)
}
func (p *BindReceiverResp) walk(w *wire)    { (*BindTransmitterResp)(p).walk(w) }
func (p *BindTransceiverResp) walk(w *wire) { (*BindTransmitterResp)(p).walk(w) }

func (p *Outbind) walk(w *wire) {
	w.text(&p.SystemID, systemIDSize, RINVSYSID, "system_id")
	w.text(&p.Password, 9, RINVPASWD, "password")
}

func (*Unbind) walk(*wire)          {}
func (*UnbindResp) walk(*wire)      {}
func (*EnquireLink) walk(*wire)     {}
func (*EnquireLinkResp) walk(*wire) {}
func (*GenericNack) walk(*wire)     {}
