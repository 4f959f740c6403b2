package smpp

// QuerySM asks for the state of a message (SMPP v3.4 §4.8.1).
type QuerySM struct {
	Header
	MessageID                    string
	SourceAddrTON, SourceAddrNPI uint8
	SourceAddr                   string
}

// QuerySMResp answers it (§4.8.2).
type QuerySMResp struct {
	Header
	MessageID    string
	FinalDate    string // empty while not final
	MessageState MessageState
	ErrorCode    uint8 // the network's
}

// CancelSM asks to forget one or several messages (§4.9.1).
type CancelSM struct {
	Header
	ServiceType                  string
	MessageID                    string
	SourceAddrTON, SourceAddrNPI uint8
	SourceAddr                   string
	DestAddrTON, DestAddrNPI     uint8
	DestinationAddr              string
}

// CancelSMResp answers it (§4.9.2).
type CancelSMResp struct{ Header }

// ReplaceSM gives a waiting message another text (§4.10.1).
type ReplaceSM struct {
	Header
	MessageID                    string
	SourceAddrTON, SourceAddrNPI uint8
	SourceAddr                   string
	ScheduleDeliveryTime         string
	ValidityPeriod               string
	RegisteredDelivery           uint8
	SMDefaultMsgID               uint8
	ShortMessage                 []byte
}

// ReplaceSMResp answers it (§4.10.2).
type ReplaceSMResp struct{ Header }

// AlertNotification says that a handset can be reached again (§4.12.1); it has
// no response.
type AlertNotification struct {
	Header
	SourceAddrTON, SourceAddrNPI uint8
	SourceAddr                   string // at most 64 octets
	ESMEAddrTON, ESMEAddrNPI     uint8
	ESMEAddr                     string // at most 64 octets
	TLVs                         TLVs   // ms_availability_status
}

func (*QuerySM) Command() CommandID           { return CommandQuerySM }
func (*QuerySMResp) Command() CommandID       { return CommandQuerySM | Response }
func (*CancelSM) Command() CommandID          { return CommandCancelSM }
func (*CancelSMResp) Command() CommandID      { return CommandCancelSM | Response }
func (*ReplaceSM) Command() CommandID         { return CommandReplaceSM }
func (*ReplaceSMResp) Command() CommandID     { return CommandReplaceSM | Response }
func (*AlertNotification) Command() CommandID { return CommandAlertNotification }

func (p *QuerySM) walk(w *wire) {
	w.text(&p.MessageID, messageIDSize, RINVMSGID, "message_id")
	w.address(&p.SourceAddrTON, &p.SourceAddrNPI, &p.SourceAddr, addressSize, RINVSRCADR, "source_addr")
}

func (p *QuerySMResp) walk(w *wire) {
	w.text(&p.MessageID, w.size(messageIDSize, lenientIDSize), RINVMSGID, "message_id")
	if w.strict() {
		w.time(&p.FinalDate, RINVSCHED, "final_date")
	} else {
		w.text(&p.FinalDate, timeSize, RINVSCHED, "final_date")
	}
	w.u8((*uint8)(&p.MessageState), "message_state")
	w.u8(&p.ErrorCode, "error_code")
}

func (p *CancelSM) walk(w *wire) {
	w.text(&p.ServiceType, 6, RINVSERTYP, "service_type")
	w.text(&p.MessageID, messageIDSize, RINVMSGID, "message_id")
	w.address(&p.SourceAddrTON, &p.SourceAddrNPI, &p.SourceAddr, addressSize, RINVSRCADR, "source_addr")
	w.address(&p.DestAddrTON, &p.DestAddrNPI, &p.DestinationAddr, addressSize, RINVDSTADR, "destination_addr")
}

func (p *ReplaceSM) walk(w *wire) {
	w.text(&p.MessageID, messageIDSize, RINVMSGID, "message_id")
	w.address(&p.SourceAddrTON, &p.SourceAddrNPI, &p.SourceAddr, addressSize, RINVSRCADR, "source_addr")
	w.time(&p.ScheduleDeliveryTime, RINVSCHED, "schedule_delivery_time")
	w.time(&p.ValidityPeriod, RINVEXPIRY, "validity_period")
	w.u8(&p.RegisteredDelivery, "registered_delivery")
	w.u8(&p.SMDefaultMsgID, "sm_default_msg_id")
	w.shortMessage(&p.ShortMessage)
}

func (p *AlertNotification) walk(w *wire) {
	w.address(&p.SourceAddrTON, &p.SourceAddrNPI, &p.SourceAddr, longAddressSize, RINVSRCADR, "source_addr")
	w.address(&p.ESMEAddrTON, &p.ESMEAddrNPI, &p.ESMEAddr, longAddressSize, RINVDSTADR, "esme_addr")
	w.tlvs(&p.TLVs)
}

func (*CancelSMResp) walk(*wire)  {}
func (*ReplaceSMResp) walk(*wire) {}
