package smsc

// Quirks are one SMSC's deviations from its protocol's specification, and the
// choices that a specification leaves to the operator. The zero value follows the
// specification. Each protocol ignores what it has no use for.
type Quirks struct {
	// ReceiptIDs says how receipts spell the id that the response gave (SMPP).
	ReceiptIDs IDForm
	// Alphabet is what the SMSC calls its default alphabet: SMPP data_coding 0,
	// CIMD2 user data (033).
	Alphabet Alphabet
	// Packed: SMPP data_coding 0 carries septets packed into octets.
	Packed bool
	// LongTexts says how the parts of a long text are marked (SMPP).
	LongTexts LongTexts
	// Numbers says how international numbers are written.
	Numbers Numbers
	// NoTLVs: the SMSC speaks SMPP 3.3, or stumbles over optional parameters.
	NoTLVs bool
	// AbsoluteTimes: SMPP's validity_period goes as a date, where Submit.Now says what
	// time it is; the SMSC does not take relative ones.
	AbsoluteTimes bool
	// IA5: SMPP data_coding 1 stands for the default alphabet, both ways, and not 0.
	IA5 bool
	// NoLogoutAnswer: unbind or logout is never answered; the socket is closed
	// at once after it.
	NoLogoutAnswer bool
	// NoChecksum: CIMD2 packets go out without a checksum.
	NoChecksum bool
	// RequireChecksum: CIMD2 packets that come without a checksum are damaged ones.
	RequireChecksum bool
	// NegativeDelivers: a CIMD2 deliver that cannot be taken now is answered with error
	// 710, and not left without an answer. Older SMSCs know positive answers only.
	NegativeDelivers bool
	// TrailingAt: packed septets (SMPP: Packed, CIMD2: 034 in the default alphabet) whose
	// last is a 00 in the last seven bits end in '@'; without it that is padding.
	TrailingAt bool
	// ServiceType is SMPP's service_type of every submit.
	ServiceType string
	// Fates overrules the error table: SMPP command_status or CIMD2 error code to
	// what it means at this SMSC.
	Fates map[uint32]Fate
}

// IDForm says how the ids in receipts are spelt compared with those in responses.
// Never guessed per message: ten decimal digits are valid hexadecimal too.
type IDForm uint8

const (
	IDText         IDForm = iota // the same text
	IDHexToDecimal               // the response in hexadecimal, the receipt in decimal
	IDDecimalToHex               // the response in decimal, the receipt in hexadecimal
	IDHex                        // both in hexadecimal: case and leading zeros do not count
	IDDecimal                    // both in decimal: leading zeros do not count
)

// Alphabet is what an SMSC takes for its default alphabet.
type Alphabet uint8

const (
	AlphabetGSM    Alphabet = iota // GSM 03.38
	AlphabetLatin1                 // ISO 8859-1
	AlphabetASCII                  // IA5
)

// LongTexts is a way to mark the parts of a long text.
type LongTexts uint8

const (
	LongUDH     LongTexts = iota // user data header, 8-bit reference
	LongSAR                      // sar_msg_ref_num, sar_total_segments, sar_segment_seqnum
	LongPayload                  // the whole text in message_payload
)

// Numbers is a way to write an international number.
type Numbers uint8

const (
	NumbersTON   Numbers = iota // type of number 1, digits alone
	NumbersPlus                 // type of number 1 and a '+' before the digits
	NumbersPlain                // type of number unknown, digits alone
)
