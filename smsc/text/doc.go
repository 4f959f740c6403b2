// Package text turns texts into the user data of short messages and back: the
// GSM 7-bit default alphabet, UCS2 and Latin-1, and the cutting of long texts
// into concatenated parts (3GPP 23.038, 23.040). It is pure.
//
//	text ─Encode─▶ Coding, data ─Split─▶ pieces ─ ─ radio ─ ─▶ pieces ─Join─▶ data ─Decode─▶ text
//
// Data in GSM7 is unpacked all along, one septet an octet, as SMPP and CIMD2
// carry it.
package text
