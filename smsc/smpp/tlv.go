package smpp

import (
	"encoding/binary"
	"fmt"
)

// Tag names an optional parameter (SMPP v3.4 §5.3.2).
type Tag uint16

// The tags of SMPP v3.4, and of v5.0 those that are met on v3.4 links.
const (
	TagDestAddrSubunit          Tag = 0x0005
	TagDestNetworkType          Tag = 0x0006
	TagDestBearerType           Tag = 0x0007
	TagDestTelematicsID         Tag = 0x0008
	TagSourceAddrSubunit        Tag = 0x000D
	TagSourceNetworkType        Tag = 0x000E
	TagSourceBearerType         Tag = 0x000F
	TagSourceTelematicsID       Tag = 0x0010
	TagQosTimeToLive            Tag = 0x0017
	TagPayloadType              Tag = 0x0019
	TagAdditionalStatusInfoText Tag = 0x001D
	TagReceiptedMessageID       Tag = 0x001E
	TagMSMsgWaitFacilities      Tag = 0x0030
	TagPrivacyIndicator         Tag = 0x0201
	TagSourceSubaddress         Tag = 0x0202
	TagDestSubaddress           Tag = 0x0203
	TagUserMessageReference     Tag = 0x0204
	TagUserResponseCode         Tag = 0x0205
	TagSourcePort               Tag = 0x020A
	TagDestinationPort          Tag = 0x020B
	TagSarMsgRefNum             Tag = 0x020C
	TagLanguageIndicator        Tag = 0x020D
	TagSarTotalSegments         Tag = 0x020E
	TagSarSegmentSeqnum         Tag = 0x020F
	TagSCInterfaceVersion       Tag = 0x0210
	TagCallbackNumPresInd       Tag = 0x0302
	TagCallbackNumAtag          Tag = 0x0303
	TagNumberOfMessages         Tag = 0x0304
	TagCallbackNum              Tag = 0x0381
	TagDpfResult                Tag = 0x0420
	TagSetDpf                   Tag = 0x0421
	TagMSAvailabilityStatus     Tag = 0x0422
	TagNetworkErrorCode         Tag = 0x0423
	TagMessagePayload           Tag = 0x0424
	TagDeliveryFailureReason    Tag = 0x0425
	TagMoreMessagesToSend       Tag = 0x0426
	TagMessageState             Tag = 0x0427
	TagCongestionState          Tag = 0x0428 // v5.0
	TagUSSDServiceOp            Tag = 0x0501
	TagBillingIdentification    Tag = 0x060B // v5.0
	TagSourceNetworkID          Tag = 0x060D // v5.0
	TagDestNetworkID            Tag = 0x060E // v5.0
	TagSourceNodeID             Tag = 0x060F // v5.0
	TagDestNodeID               Tag = 0x0610 // v5.0
	TagDestAddrNpResolution     Tag = 0x0611 // v5.0
	TagDestAddrNpInformation    Tag = 0x0612 // v5.0
	TagDestAddrNpCountry        Tag = 0x0613 // v5.0
	TagDisplayTime              Tag = 0x1201
	TagSMSSignal                Tag = 0x1203
	TagMSValidity               Tag = 0x1204
	TagAlertOnMessageDelivery   Tag = 0x130C
	TagItsReplyType             Tag = 0x1380
	TagItsSessionInfo           Tag = 0x1383
)

// tags: the name of each parameter and the fewest and most octets of its value
// (SMPP v3.4 §5.3.2; what v5.0 made longer may be so).
var tags = map[Tag]struct {
	name        string
	least, most int
}{
	TagDestAddrSubunit:          {"dest_addr_subunit", 1, 1},
	TagDestNetworkType:          {"dest_network_type", 1, 1},
	TagDestBearerType:           {"dest_bearer_type", 1, 1},
	TagDestTelematicsID:         {"dest_telematics_id", 1, 2},
	TagSourceAddrSubunit:        {"source_addr_subunit", 1, 1},
	TagSourceNetworkType:        {"source_network_type", 1, 1},
	TagSourceBearerType:         {"source_bearer_type", 1, 1},
	TagSourceTelematicsID:       {"source_telematics_id", 1, 2},
	TagQosTimeToLive:            {"qos_time_to_live", 4, 4},
	TagPayloadType:              {"payload_type", 1, 1},
	TagAdditionalStatusInfoText: {"additional_status_info_text", 0, 256},
	TagReceiptedMessageID:       {"receipted_message_id", 0, 65},
	TagMSMsgWaitFacilities:      {"ms_msg_wait_facilities", 1, 1},
	TagPrivacyIndicator:         {"privacy_indicator", 1, 1},
	TagSourceSubaddress:         {"source_subaddress", 2, 23},
	TagDestSubaddress:           {"dest_subaddress", 2, 23},
	TagUserMessageReference:     {"user_message_reference", 2, 2},
	TagUserResponseCode:         {"user_response_code", 1, 1},
	TagSourcePort:               {"source_port", 2, 2},
	TagDestinationPort:          {"destination_port", 2, 2},
	TagSarMsgRefNum:             {"sar_msg_ref_num", 2, 2},
	TagLanguageIndicator:        {"language_indicator", 1, 1},
	TagSarTotalSegments:         {"sar_total_segments", 1, 1},
	TagSarSegmentSeqnum:         {"sar_segment_seqnum", 1, 1},
	TagSCInterfaceVersion:       {"sc_interface_version", 1, 1},
	TagCallbackNumPresInd:       {"callback_num_pres_ind", 1, 1},
	TagCallbackNumAtag:          {"callback_num_atag", 0, 65},
	TagNumberOfMessages:         {"number_of_messages", 1, 1},
	TagCallbackNum:              {"callback_num", 4, 19},
	TagDpfResult:                {"dpf_result", 1, 1},
	TagSetDpf:                   {"set_dpf", 1, 1},
	TagMSAvailabilityStatus:     {"ms_availability_status", 1, 1},
	TagNetworkErrorCode:         {"network_error_code", 3, 3},
	TagMessagePayload:           {"message_payload", 0, 65535},
	TagDeliveryFailureReason:    {"delivery_failure_reason", 1, 1},
	TagMoreMessagesToSend:       {"more_messages_to_send", 1, 1},
	TagMessageState:             {"message_state", 1, 1},
	TagCongestionState:          {"congestion_state", 1, 1},
	TagUSSDServiceOp:            {"ussd_service_op", 1, 1},
	TagBillingIdentification:    {"billing_identification", 1, 1024},
	TagSourceNetworkID:          {"source_network_id", 7, 65},
	TagDestNetworkID:            {"dest_network_id", 7, 65},
	TagSourceNodeID:             {"source_node_id", 6, 6},
	TagDestNodeID:               {"dest_node_id", 6, 6},
	TagDestAddrNpResolution:     {"dest_addr_np_resolution", 1, 1},
	TagDestAddrNpInformation:    {"dest_addr_np_information", 10, 10},
	TagDestAddrNpCountry:        {"dest_addr_np_country", 1, 5},
	TagDisplayTime:              {"display_time", 1, 1},
	TagSMSSignal:                {"sms_signal", 2, 2},
	TagMSValidity:               {"ms_validity", 1, 4},
	TagAlertOnMessageDelivery:   {"alert_on_message_delivery", 0, 1},
	TagItsReplyType:             {"its_reply_type", 1, 1},
	TagItsSessionInfo:           {"its_session_info", 2, 2},
}

// size returns the fewest and most octets of a value: of an unknown parameter any.
func (t Tag) size() (least, most int) {
	if e, known := tags[t]; known {
		return e.least, e.most
	}
	return 0, 0xffff
}

// String is the specification's name, or "tag 0x1400".
func (t Tag) String() string {
	if e, ok := tags[t]; ok {
		return e.name
	}
	return fmt.Sprintf("tag 0x%04X", uint16(t))
}

// TLV is one optional parameter; its length is len(Value).
type TLV struct {
	Tag   Tag
	Value []byte
}

// TLVs are the optional parameters in the order in which they stood. Unknown
// ones stay among them; none is a reason to reject a PDU.
type TLVs []TLV

// Check finds a known parameter whose length is not allowed. Append refuses
// it; reading never asks for it: peers are sloppy, and what is not understood is ignored.
func (l TLVs) Check() error {
	for _, t := range l {
		if least, most := t.Tag.size(); len(t.Value) < least || len(t.Value) > most {
			return fmt.Errorf("smpp: %v has %d octets, not %d to %d", t.Tag, len(t.Value), least, most)
		}
	}
	return nil
}

// Get returns the first value with this tag.
func (l TLVs) Get(tag Tag) (value []byte, ok bool) {
	for _, t := range l {
		if t.Tag == tag {
			return t.Value, true
		}
	}
	return nil, false
}

// Uint8 returns a one-octet integer; ok is false also where the length is another.
func (l TLVs) Uint8(tag Tag) (v uint8, ok bool) {
	b, _ := l.Get(tag)
	if len(b) != 1 {
		return 0, false
	}
	return b[0], true
}

// Uint16 returns a two-octet integer; ok is false also where the length is another.
func (l TLVs) Uint16(tag Tag) (v uint16, ok bool) {
	b, _ := l.Get(tag)
	if len(b) != 2 {
		return 0, false
	}
	return binary.BigEndian.Uint16(b), true
}

// Uint32 returns a four-octet integer; ok is false also where the length is another.
func (l TLVs) Uint32(tag Tag) (v uint32, ok bool) {
	b, _ := l.Get(tag)
	if len(b) != 4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(b), true
}

// All returns the values of a parameter that may stand several times, as callback_num.
func (l TLVs) All(tag Tag) (values [][]byte) {
	for _, t := range l {
		if t.Tag == tag {
			values = append(values, t.Value)
		}
	}
	return values
}

// NetworkError is a network_error_code (§5.3.2.31).
type NetworkError struct {
	Network uint8 // 1 ANSI-136, 2 IS-95, 3 GSM
	Code    uint16
}

// NetworkError returns network_error_code.
func (l TLVs) NetworkError() (e NetworkError, ok bool) {
	b, _ := l.Get(TagNetworkErrorCode)
	if len(b) != 3 {
		return e, false
	}
	return NetworkError{b[0], binary.BigEndian.Uint16(b[1:])}, true
}

// Text returns a C-octet string, with or without its NUL: some peers leave it out.
func (l TLVs) Text(tag Tag) (v string, ok bool) {
	b, ok := l.Get(tag)
	for i, c := range b {
		if c == 0 {
			b = b[:i]
			break
		}
	}
	return string(b), ok
}

// Add appends a parameter with the value as it is.
func (l *TLVs) Add(tag Tag, value ...byte) { *l = append(*l, TLV{tag, value}) }

// AddUint16 appends a two-octet integer.
func (l *TLVs) AddUint16(tag Tag, v uint16) { l.Add(tag, byte(v>>8), byte(v)) }

// AddUint32 appends a four-octet integer.
func (l *TLVs) AddUint32(tag Tag, v uint32) { l.Add(tag, binary.BigEndian.AppendUint32(nil, v)...) }

// AddText appends a C-octet string.
func (l *TLVs) AddText(tag Tag, v string) { l.Add(tag, append([]byte(v), 0)...) }
