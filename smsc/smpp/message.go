package smpp

// SubmitSM hands a short message to the SMSC (SMPP v3.4 §4.4.1).
type SubmitSM struct {
	Header
	ServiceType                  string // at most 5 octets
	SourceAddrTON, SourceAddrNPI uint8
	SourceAddr                   string // at most 20 octets
	DestAddrTON, DestAddrNPI     uint8
	DestinationAddr              string // at most 20 octets
	ESMClass                     uint8  // ESMClassUDHI etc.
	ProtocolID                   uint8  // GSM TP-PID
	PriorityFlag                 uint8
	ScheduleDeliveryTime         string // empty or 16 characters, as ValidityPeriod
	ValidityPeriod               string // FormatValidity
	RegisteredDelivery           uint8
	ReplaceIfPresentFlag         uint8
	DataCoding                   uint8
	SMDefaultMsgID               uint8
	ShortMessage                 []byte // at most 254 octets, UDH included
	TLVs                         TLVs
}

// DeliverSM hands a short message or a receipt to the ESME (§4.6.1).
type DeliverSM SubmitSM

// SubmitSMResp answers submit_sm (§4.4.2).
type SubmitSMResp struct {
	Header
	MessageID string // at most 64 octets; empty when refused
	TLVs      TLVs
}

// DeliverSMResp answers deliver_sm (§4.6.2); its MessageID is unused, and must be empty.
type DeliverSMResp SubmitSMResp

// DataSMResp answers data_sm (§4.7.2).
type DataSMResp SubmitSMResp

// DataSM is the short form of both submit_sm and deliver_sm: the text stands in
// message_payload (§4.7.1).
type DataSM struct {
	Header
	ServiceType                  string
	SourceAddrTON, SourceAddrNPI uint8
	SourceAddr                   string // at most 64 octets
	DestAddrTON, DestAddrNPI     uint8
	DestinationAddr              string // at most 64 octets
	ESMClass                     uint8
	RegisteredDelivery           uint8
	DataCoding                   uint8
	TLVs                         TLVs
}

// Destination is one of submit_multi: an address, or with List not empty the
// name of a distribution list.
type Destination struct {
	TON, NPI uint8
	Addr     string
	List     string
	flag     uint8 // as read: an empty List is still one
}

// SubmitMulti hands one short message for up to 254 destinations to the SMSC (§4.5.1).
type SubmitMulti struct {
	Header
	ServiceType                  string
	SourceAddrTON, SourceAddrNPI uint8
	SourceAddr                   string
	Destinations                 []Destination
	ESMClass                     uint8
	ProtocolID                   uint8
	PriorityFlag                 uint8
	ScheduleDeliveryTime         string
	ValidityPeriod               string
	RegisteredDelivery           uint8
	ReplaceIfPresentFlag         uint8
	DataCoding                   uint8
	SMDefaultMsgID               uint8
	ShortMessage                 []byte
	TLVs                         TLVs
}

// Unsuccess is a destination for which submit_multi failed, and why.
type Unsuccess struct {
	TON, NPI uint8
	Addr     string
	Status   Status
}

// SubmitMultiResp answers submit_multi (§4.5.2).
type SubmitMultiResp struct {
	Header
	MessageID string
	Unsuccess []Unsuccess
	TLVs      TLVs
}

func (*SubmitSM) Command() CommandID        { return CommandSubmitSM }
func (*SubmitSMResp) Command() CommandID    { return CommandSubmitSM | Response }
func (*DeliverSM) Command() CommandID       { return CommandDeliverSM }
func (*DeliverSMResp) Command() CommandID   { return CommandDeliverSM | Response }
func (*DataSM) Command() CommandID          { return CommandDataSM }
func (*DataSMResp) Command() CommandID      { return CommandDataSM | Response }
func (*SubmitMulti) Command() CommandID     { return CommandSubmitMulti }
func (*SubmitMultiResp) Command() CommandID { return CommandSubmitMulti | Response }

func (p *SubmitSM) walk(w *wire) { p.walkSized(w, addressSize) }

// DeliverSM is read with longer addresses than allowed: refusing one makes the SMSC
// send it again for ever. Four fields are not used in it (§4.6.1).
func (p *DeliverSM) walk(w *wire) {
	if w.strict() && (p.ScheduleDeliveryTime != "" || p.ValidityPeriod != "" || p.ReplaceIfPresentFlag != 0 || p.SMDefaultMsgID != 0) {
		w.fail(RINVSCHED, "schedule_delivery_time, validity_period, replace_if_present_flag and sm_default_msg_id must be empty")
	}
	(*SubmitSM)(p).walkSized(w, w.size(addressSize, longAddressSize))
}

func (p *SubmitSM) walkSized(w *wire, size int) {
	w.text(&p.ServiceType, 6, RINVSERTYP, "service_type")
	w.address(&p.SourceAddrTON, &p.SourceAddrNPI, &p.SourceAddr, size, RINVSRCADR, "source_addr")
	w.address(&p.DestAddrTON, &p.DestAddrNPI, &p.DestinationAddr, size, RINVDSTADR, "destination_addr")
	w.u8(&p.ESMClass, "esm_class")
	w.u8(&p.ProtocolID, "protocol_id")
	w.u8(&p.PriorityFlag, "priority_flag")
	w.time(&p.ScheduleDeliveryTime, RINVSCHED, "schedule_delivery_time")
	w.time(&p.ValidityPeriod, RINVEXPIRY, "validity_period")
	w.u8(&p.RegisteredDelivery, "registered_delivery")
	w.u8(&p.ReplaceIfPresentFlag, "replace_if_present_flag")
	w.u8(&p.DataCoding, "data_coding")
	w.u8(&p.SMDefaultMsgID, "sm_default_msg_id")
	w.shortMessage(&p.ShortMessage)
	w.tlvs(&p.TLVs)
}

func (p *SubmitSMResp) walk(w *wire)  { p.walkSized(w, messageIDSize) }
func (p *DeliverSMResp) walk(w *wire) { (*SubmitSMResp)(p).walkSized(w, 1) }
func (p *DataSMResp) walk(w *wire)    { (*SubmitSMResp)(p).walkSized(w, messageIDSize) }

// walkSized: size is the most octets of a message_id that is written.
func (p *SubmitSMResp) walkSized(w *wire, size int) {
	w.text(&p.MessageID, w.size(size, lenientIDSize), RINVMSGID, "message_id")
	w.tlvs(&p.TLVs)
}

func (p *DataSM) walk(w *wire) {
	w.text(&p.ServiceType, 6, RINVSERTYP, "service_type")
	w.address(&p.SourceAddrTON, &p.SourceAddrNPI, &p.SourceAddr, longAddressSize, RINVSRCADR, "source_addr")
	w.address(&p.DestAddrTON, &p.DestAddrNPI, &p.DestinationAddr, longAddressSize, RINVDSTADR, "destination_addr")
	w.u8(&p.ESMClass, "esm_class")
	w.u8(&p.RegisteredDelivery, "registered_delivery")
	w.u8(&p.DataCoding, "data_coding")
	w.tlvs(&p.TLVs)
}

const (
	destAddress     = 1 // dest_flag values (§5.2.25)
	destList        = 2
	maxDestinations = 254
)

func (d *Destination) isList() bool { return d.flag == destList || d.List != "" }

func (d *Destination) walk(w *wire) {
	if w.writing && d.flag == 0 {
		d.flag = destAddress
		if d.List != "" {
			d.flag = destList
		}
	}
	w.u8(&d.flag, "dest_flag")
	switch d.flag {
	case destAddress:
		w.address(&d.TON, &d.NPI, &d.Addr, addressSize, RINVDSTADR, "destination_addr")
	case destList:
		w.text(&d.List, addressSize, RINVDLNAME, "dl_name")
	default:
		w.fail(RINVDESTFLAG, "dest_flag is %d, neither 1 nor 2", d.flag)
	}
}

func (p *SubmitMulti) walk(w *wire) {
	w.text(&p.ServiceType, 6, RINVSERTYP, "service_type")
	w.address(&p.SourceAddrTON, &p.SourceAddrNPI, &p.SourceAddr, addressSize, RINVSRCADR, "source_addr")
	if w.writing && len(p.Destinations) > maxDestinations {
		w.fail(RINVNUMDESTS, "%d destinations, the most is 254", len(p.Destinations))
		return
	}
	n := uint8(len(p.Destinations))
	w.u8(&n, "number_of_dests")
	if w.fault == OK && (n == 0 || n == 255) {
		w.fail(RINVNUMDESTS, "number_of_dests is %d, not between 1 and 254", n)
	}
	for i := 0; i < int(n) && w.fault == OK; i++ {
		if w.writing {
			d := p.Destinations[i]
			d.walk(w)
			continue
		}
		var d Destination
		if d.walk(w); w.fault == OK {
			p.Destinations = append(p.Destinations, d)
		}
	}
	w.u8(&p.ESMClass, "esm_class")
	w.u8(&p.ProtocolID, "protocol_id")
	w.u8(&p.PriorityFlag, "priority_flag")
	w.time(&p.ScheduleDeliveryTime, RINVSCHED, "schedule_delivery_time")
	w.time(&p.ValidityPeriod, RINVEXPIRY, "validity_period")
	w.u8(&p.RegisteredDelivery, "registered_delivery")
	w.u8(&p.ReplaceIfPresentFlag, "replace_if_present_flag")
	w.u8(&p.DataCoding, "data_coding")
	w.u8(&p.SMDefaultMsgID, "sm_default_msg_id")
	w.shortMessage(&p.ShortMessage)
	w.tlvs(&p.TLVs)
}

func (p *SubmitMultiResp) walk(w *wire) {
	w.text(&p.MessageID, w.size(messageIDSize, lenientIDSize), RINVMSGID, "message_id")
	if w.writing && len(p.Unsuccess) > 255 {
		w.fail(RINVNUMDESTS, "%d failed destinations, the most is 255", len(p.Unsuccess))
		return
	}
	n := uint8(len(p.Unsuccess))
	w.u8(&n, "no_unsuccess")
	for i := 0; i < int(n) && w.fault == OK; i++ {
		if !w.writing {
			p.Unsuccess = append(p.Unsuccess, Unsuccess{})
		}
		u := &p.Unsuccess[i]
		w.address(&u.TON, &u.NPI, &u.Addr, w.size(addressSize, longAddressSize), RINVDSTADR, "destination_addr")
		w.u32((*uint32)(&u.Status), "error_status_code")
	}
	w.tlvs(&p.TLVs)
}
