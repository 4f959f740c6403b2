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
	TagDisplayTime              Tag = 0x1201
	TagSMSSignal                Tag = 0x1203
	TagMSValidity               Tag = 0x1204
	TagAlertOnMessageDelivery   Tag = 0x130C
	TagItsReplyType             Tag = 0x1380
	TagItsSessionInfo           Tag = 0x1383
)

func (t Tag) String() string { return fmt.Sprintf("0x%04X", uint16(t)) }

// TLV is one optional parameter; its length is len(Value).
type TLV struct {
	Tag   Tag
	Value []byte
}

// TLVs are the optional parameters in the order in which they stood. Unknown
// ones stay among them; none is a reason to reject a PDU.
type TLVs []TLV

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

// AddText appends a C-octet string.
func (l *TLVs) AddText(tag Tag, v string) { l.Add(tag, append([]byte(v), 0)...) }
